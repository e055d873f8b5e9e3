import { classNameOf, type SkeletonFile } from './handler-skeleton.js';

/**
 * The files of a new handler that is a Python module, in the way of TorchServe's `BaseHandler`: the handler, its tests for
 * `python -m unittest`, and how to pack it.
 * @param name checked already: letters, digits, `_`, `-` and `.`
 */
export function pythonHandlerSkeleton(name: string): readonly SkeletonFile[] {
  const className = classNameOf(name);
  return [
    { path: 'handler.py', text: handlerText(className) },
    { path: 'test_handler.py', text: testText(className) },
    { path: 'README.md', text: readmeText(name) },
  ];
}

function handlerText(className: string): string {
  return `import math

import torch
from ts.torch_handler.base_handler import BaseHandler
from ts.utils.util import PredictionException


class ${className}(BaseHandler):
    """Takes {"values": [1, 2, 3]} and answers the index of the model's highest score, and that score."""

    def initialize(self, context):
        """Called once per worker: loads the archive's model as self.model, on self.device. Read labels from
        context.system_properties["model_dir"], settings from context.model_yaml_config."""
        super().initialize(context)

    def preprocess(self, data):
        """A batch of requests in, one tensor out. A request has its body as "body", or the fields of its form."""
        rows = [values_of(request.get("data") or request.get("body")) for request in data]
        return torch.tensor(rows, dtype=torch.float32, device=self.device)

    def inference(self, inputs):
        """The tensor in, the model's output out."""
        with torch.inference_mode():
            return self.model(inputs)

    def postprocess(self, scores):
        """The output of the batch in, one answer for each request out, in their order: a dict becomes JSON."""
        best = scores.max(dim=1)
        return [
            {"index": index, "score": score}
            for index, score in zip(best.indices.tolist(), best.values.tolist())
        ]


def values_of(body):
    values = body.get("values") if isinstance(body, dict) else None
    if not isinstance(values, list) or not values or not all(is_finite(value) for value in values):
        raise PredictionException('Send JSON like {"values": [1, 2, 3]}.', 400)
    return values


def is_finite(value):
    return isinstance(value, (int, float)) and math.isfinite(value)
`;
}

function testText(className: string): string {
  return `import unittest

import torch
from handler import ${className}
from ts.utils.util import PredictionException


class ${className}Test(unittest.TestCase):
    def setUp(self):
        self.handler = ${className}()
        self.handler.device = torch.device("cpu")
        self.handler.model = torch.nn.Identity()

    def test_makes_one_tensor_of_the_batch(self):
        inputs = self.handler.preprocess([{"body": {"values": [1, 2, 3]}}, {"body": {"values": [4, 5, 6]}}])
        self.assertEqual(inputs.tolist(), [[1, 2, 3], [4, 5, 6]])

    def test_says_what_to_send_when_the_values_are_missing(self):
        for body in [None, b"text", {}, {"values": []}, {"values": ["1"]}, {"values": [float("nan")]}]:
            with self.assertRaisesRegex(PredictionException, "Send JSON like"):
                self.handler.preprocess([{"body": body}])

    def test_answers_the_highest_score_of_each_request(self):
        scores = self.handler.inference(torch.tensor([[0.25, 0.75], [1.0, 0.0]]))
        answers = [{"index": 1, "score": 0.75}, {"index": 0, "score": 1.0}]
        self.assertEqual(self.handler.postprocess(scores), answers)


if __name__ == "__main__":
    unittest.main()
`;
}

function readmeText(name: string): string {
  return `# ${name}

\`handler.py\` turns requests into the model's input and its output into answers, in TorchServe's own worker. Test it in the Python
that serves it (\`marline doctor\` says what that lacks):

    python -m unittest

Pack it with the model, then serve and ask it. \`model.pt\` is TorchScript; with a state dict add \`--model-file model.py\`, which has the class:

    marline archive --model-name ${name} --version 1.0 --serialized-file model.pt --handler handler.py --export-path models
    marline serve --model-store models --models ${name}.mar --python "$(command -v python)"
    echo '{"values": [1, 2, 3]}' > request.json
    marline predict request.json --model ${name}
`;
}
