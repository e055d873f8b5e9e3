"""Exports the PyTorch model of an unpacked archive to ONNX, and keeps what it answers to sample inputs.

`marline convert` runs it in the archive's folder with one argument, the folder that job.json lies in:

    {"modelFile": "net.py" | null, "serializedFile": "net.pt" | null, "batch": "free" | "fixed",
     "inputs": [{"shape": [1, 16], "dtype": "int64", "free": {"1": "sequence"}} | {"sample": "/path/of.npy"}, ...]}

It writes result.json there, {"ok": true, ...} or {"ok": false, "problem": ..., "detail": ...}; beside it, if all went
well, onnx/model.onnx and one file with the raw bytes of each tensor of each case. What is printed is for people.
"""

import ctypes
import importlib
import inspect
import json
import os
import re
import shutil
import sys
import warnings

FOLDER = sys.argv[1]
DTYPES = "float32 float64 float16 int8 uint8 int16 int32 int64 bool".split()
# Of the runs that are compared: their batch sizes, and how much longer than the example free dimensions are.
BATCHES = (None, 1, 2, 3, 8)
STRETCH = (1, 1, 2, 0.5, 1.25)
# Protocol buffers end at 2 GiB; weights beyond that lie in files of their own.
LARGEST_SINGLE_FILE = 1_900_000_000
GPU_ONLY = re.compile(r"not compiled with CUDA|No CUDA GPUs|NVIDIA driver|CUDA error|torch\.cuda\.is_available\(\) is False")
CONTROL_FLOW = re.compile(r"data-dependent|GuardOnDataDependent|[Dd]ynamic control flow")
OPERATOR = re.compile(r"OpOverload\(op='([^']+)'|operator '?([\w:]+)'?")


class Refusal(Exception):
    """The model cannot be converted, for a reason that the user is told."""

    def __init__(self, problem, detail=""):
        super().__init__(detail)
        self.problem, self.detail = problem, detail


def main(job):
    try:
        import torch
    except ImportError as error:
        raise Refusal("no-torch", str(error)) from error
    # Only now: files of the archive must not stand in for those that PyTorch imports.
    sys.path[0] = os.getcwd()
    model = load(torch, job)
    scripted = isinstance(model, torch.jit.ScriptModule)
    refuse_quantised(torch, model, scripted)
    inputs = [Input(torch, wanted) for wanted in job["inputs"]]
    for given, name in zip(inputs, input_names(model, scripted, len(inputs))):
        given.name = name
    with torch.no_grad():
        return convert(torch, model, scripted, inputs, job["batch"])


def load(torch, job):
    """As TorchServe's base handler does: one class of the model file and a state dict, or else TorchScript."""
    file, weights = job["modelFile"], job["serializedFile"]
    try:
        if file is None:
            return torch.jit.load(weights, map_location="cpu").eval()
        module = importlib.import_module(file.split(".")[0])
        classes = [each for _, each in inspect.getmembers(module, inspect.isclass) if each.__module__ == module.__name__]
        if len(classes) != 1:
            raise Refusal("classes", ", ".join(each.__name__ for each in classes))
        model = classes[0]()
        if weights is not None:
            model.load_state_dict(torch.load(weights, map_location="cpu"))
        return model.eval()
    except Refusal:
        raise
    except ModuleNotFoundError as error:
        raise Refusal("missing-module", error.name or str(error)) from error
    except Exception as error:
        if GPU_ONLY.search(str(error)):
            raise Refusal("gpu", summary(error)) from error
        raise Refusal("load" if file else "no-torchscript", summary(error)) from error


def refuse_quantised(torch, model, scripted):
    if scripted:
        found = re.search(r"quantized::\w+", str(model.inlined_graph))
        kind = found and found.group()
    else:
        kinds = (f"{type(each).__module__}.{type(each).__name__}" for each in model.modules())
        kind = next((each for each in kinds if ".quantized." in each), None)
        tensors = (each for each in (*model.parameters(), *model.buffers()) if each.is_quantized)
        kind = kind or next((str(each.dtype) for each in tensors), None)
    if kind:
        raise Refusal("quantised", kind)


class Input:
    """What the model takes: an example, and by axis the names of the dimensions that are free beside the first."""

    def __init__(self, torch, wanted):
        self.name = ""
        self.free = {int(axis): name for axis, name in wanted.get("free", {}).items()}
        self.is_made = "sample" not in wanted
        self.example = made(torch, wanted["dtype"], wanted["shape"], 0) if self.is_made else loaded(torch, wanted["sample"])
        self.dtype = str(self.example.dtype)[6:]

    def of(self, torch, sizes, variant):
        """The example for variant 0, else another of its kind; `sizes` are those of free dimensions by name."""
        example, names = self.example, {0: "batch", **self.free}
        shape = [sizes.get(names.get(axis), size) for axis, size in enumerate(example.shape)]
        if shape[1:] != list(example.shape[1:]):
            return made(torch, self.dtype, shape, variant)
        rows = example[torch.arange(shape[0]) % example.shape[0]] if shape else example
        if variant == 0:
            return rows
        if self.is_made and rows.dtype.is_floating_point:
            return made(torch, self.dtype, shape, variant)
        # Other values than the given ones may be none that the model knows: each row is turned round a little.
        if rows.dim() < 2:
            return rows
        return torch.stack([torch.roll(row, variant + at, -1) for at, row in enumerate(rows)])


def loaded(torch, file):
    try:
        import numpy
    except ImportError as error:
        raise Refusal("missing-module", "numpy") from error
    try:
        tensor = torch.from_numpy(numpy.load(file, allow_pickle=False))
    except Exception as error:
        raise Refusal("sample", f"{file}: {summary(error)}") from error
    if str(tensor.dtype)[6:] not in DTYPES or tensor.numel() == 0:
        raise Refusal("sample", f"{file}: it has {tensor.numel()} elements of type {tensor.dtype}")
    return tensor


def made(torch, dtype, shape, variant):
    generator = torch.Generator().manual_seed(variant)
    kind = getattr(torch, dtype)
    if kind.is_floating_point:
        return torch.randn(shape, generator=generator).to(kind)
    # 0 and 1 are valid as an index, a mask and a flag; bytes are pixels.
    return torch.randint(0, 256 if dtype == "uint8" else 2, shape, generator=generator).to(kind)


def input_names(model, scripted, count):
    if scripted:
        arguments = model.forward.schema.arguments[1:]
        known = [each.name for each in arguments]
        needed = sum(not each.has_default_value() for each in arguments)
        most = len(known)
    else:
        parameters = inspect.signature(model.forward).parameters.values()
        plain = [each for each in parameters if each.kind in (each.POSITIONAL_ONLY, each.POSITIONAL_OR_KEYWORD)]
        known = [each.name for each in plain]
        needed = sum(each.default is each.empty for each in plain)
        most = count if any(each.kind is each.VAR_POSITIONAL for each in parameters) else len(known)
    if not needed <= count <= most:
        raise Refusal("inputs", ", ".join(known))
    return [known[index] if index < len(known) else f"input_{index}" for index in range(count)]


def convert(torch, model, scripted, inputs, batch):
    note = "with a free one the engine does not give PyTorch's answers" if batch == "fixed" else why_fixed(torch, model, inputs)
    exporter = None
    if note is None:
        try:
            exporter = export(torch, model, scripted, inputs, True)
        except Refusal as refusal:
            if refusal.problem != "export":
                raise
            note = f"PyTorch cannot export it with a free one: {refusal.detail}"
    exporter = exporter or export(torch, model, scripted, inputs, False)
    return {
        "ok": True,
        "torch": torch.__version__,
        "model": getattr(model, "original_name", type(model).__name__),
        "exporter": exporter,
        "batch": "free" if note is None else "fixed",
        "note": note,
        "cases": [
            case(torch, model, inputs, sizes_of(inputs, BATCHES[at] if note is None else None, STRETCH[at]), at)
            for at in range(len(STRETCH))
        ],
    }


def sizes_of(inputs, batch, stretch):
    """Sizes of the free dimensions by their names; a batch of None is the example's own."""
    sizes = {name: max(1, int(each.example.shape[axis] * stretch)) for each in inputs for axis, name in each.free.items()}
    return sizes if batch is None else {**sizes, "batch": batch}


def answer(torch, model, names, tensors):
    """The outputs as (name, tensor), in the order in which an exporter flattens them."""
    try:
        outputs = model(*[each.clone() for each in tensors])
    except Exception as error:
        if GPU_ONLY.search(str(error)):
            raise Refusal("gpu", summary(error)) from error
        shapes = ", ".join(f"{'x'.join(map(str, each.shape))}:{str(each.dtype)[6:]}" for each in tensors)
        raise Refusal("run", f"{shapes}: {summary(error)}") from error
    taken = set(names)
    result = []
    for name, tensor in flattened(torch, outputs, ""):
        name = name or "output"
        while name in taken:
            name += "_"
        taken.add(name)
        result.append((name, tensor.detach()))
    return result


def flattened(torch, value, name):
    if isinstance(value, torch.Tensor):
        if str(value.dtype)[6:] not in DTYPES or value.layout != torch.strided:
            raise Refusal("outputs", f"a tensor of type {value.dtype} and layout {value.layout}")
        yield name, value
    elif isinstance(value, dict):
        for key, each in value.items():
            yield from flattened(torch, each, f"{name}_{key}" if name else str(key))
    elif isinstance(value, (tuple, list)):
        for index, each in enumerate(value):
            yield from flattened(torch, each, f"{name or 'output'}_{index}")
    else:
        raise Refusal("outputs", type(value).__name__)


def answers(torch, model, inputs, sizes, variant):
    tensors = [each.of(torch, sizes, variant) for each in inputs]
    return answer(torch, model, [each.name for each in inputs], tensors)


def why_fixed(torch, model, inputs):
    """Why requests must not share a run of this model; None when they may."""
    answers(torch, model, inputs, {}, 0)
    examples = [each.example for each in inputs]
    if any(each.dim() == 0 for each in examples) or len({each.shape[0] for each in examples}) != 1:
        return "its inputs have no first dimension in common that could be a batch axis"
    names = [each.name for each in inputs]
    batch = [each.of(torch, {"batch": 3}, 1) for each in inputs]
    try:
        whole = answer(torch, model, names, batch)
        rows = [answer(torch, model, names, [each[row : row + 1] for each in batch]) for row in range(3)]
    except Refusal:
        return "it does not run with another batch size than that of its input"
    for index, (name, tensor) in enumerate(whole):
        parts = [row[index][1] for row in rows if index < len(row)]
        if any(part.dim() == 0 or part.shape[0] != 1 or part.shape[1:] != tensor.shape[1:] for part in parts):
            return f"its output {name} has no batch axis"
        joined = torch.cat(parts)
        if joined.shape != tensor.shape or not alike(torch, joined, tensor):
            return f"the rows of a batch influence each other in its output {name}"
    return None


def alike(torch, a, b):
    if not a.dtype.is_floating_point:
        return torch.equal(a, b)
    scale = b.double().abs().nan_to_num(posinf=0).max().item() if b.numel() else 0
    return torch.allclose(a.double(), b.double(), rtol=0, atol=1e-3 * scale + 1e-9, equal_nan=True)


def export(torch, model, scripted, inputs, free_batch):
    """Writes model.onnx; returns the name of what wrote it."""
    # An exporter takes a dimension of 0 or 1 for one that never changes.
    sizes = {name: max(2, size) for name, size in sizes_of(inputs, 2 if free_batch else None, 1).items()}
    axes = {each.name: {**({0: "batch"} if free_batch else {}), **each.free} for each in inputs}
    outputs = output_axes(torch, model, inputs, sizes)
    tensors = tuple(each.of(torch, sizes, 0) for each in inputs)
    # ScriptModules keep their branches and loops in the older exporter; the newer one would trace them away.
    exporters = [trace_export] if scripted else [graph_export, trace_export]
    refusals = []
    for exporter in exporters:
        # All that lies there is packed: nothing of a failed attempt may stay.
        shutil.rmtree(os.path.join(FOLDER, "onnx"), ignore_errors=True)
        os.mkdir(os.path.join(FOLDER, "onnx"))
        try:
            return exporter(torch, model, tensors, axes, outputs, os.path.join(FOLDER, "onnx", "model.onnx"))
        except Refusal as refusal:
            refusals.append(refusal)
        except Exception as error:
            refusals.append(classified(error))
        if refusals[-1].problem in ("control-flow", "gpu"):
            break
    raise refusals[0]


def output_axes(torch, model, inputs, sizes):
    """The outputs by name, each with its free dimensions: those that change when those of the inputs do."""
    others = {name: size + 1 + index for index, (name, size) in enumerate(sizes.items())}
    result = {}
    for (name, one), (_, other) in zip(answers(torch, model, inputs, sizes, 0), answers(torch, model, inputs, others, 0)):
        changes = [axis for axis in range(one.dim()) if one.shape[axis] != other.shape[axis]]
        known = {(size, others[free]): free for free, size in sizes.items()}
        result[name] = {axis: known.get((one.shape[axis], other.shape[axis]), f"{name}_{axis}") for axis in changes}
    return result


def graph_export(torch, model, tensors, axes, outputs, path):
    if "dynamo" not in inspect.signature(torch.onnx.export).parameters:
        raise Refusal("export", "PyTorch is too old for torch.export")
    size = sum(each.numel() * each.element_size() for each in (*model.parameters(), *model.buffers()))
    torch.onnx.export(
        model,
        tensors,
        path,
        dynamo=True,
        external_data=size > LARGEST_SINGLE_FILE,
        dynamic_shapes=tuple(axes.values()) if any(axes.values()) else None,
        input_names=list(axes),
        output_names=list(outputs),
        verbose=False,
    )
    return "torch.export"


def trace_export(torch, model, tensors, axes, outputs, path):
    options = {"dynamo": False} if "dynamo" in inspect.signature(torch.onnx.export).parameters else {}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        torch.onnx.export(
            model,
            tensors,
            path,
            input_names=list(axes),
            output_names=list(outputs),
            dynamic_axes={**axes, **outputs},
            **options,
        )
    # Tracing goes on where a value decides, with the branch that this one input took.
    frozen = next((each for each in caught if issubclass(each.category, torch.jit.TracerWarning)), None)
    if frozen is not None and not isinstance(model, torch.jit.ScriptModule):
        raise Refusal("control-flow", str(frozen.message).splitlines()[0])
    return "TorchScript"


def classified(error):
    text = str(error)
    if isinstance(error, ModuleNotFoundError):
        return Refusal("missing-module", error.name or text)
    if GPU_ONLY.search(text):
        return Refusal("gpu", summary(error))
    if CONTROL_FLOW.search(text):
        place = re.search(r"code: (.+)", text)
        return Refusal("control-flow", place.group(1).strip() if place else summary(error))
    if "No ONNX function found" in text or "Exporting the operator" in text:
        found = OPERATOR.search(text)
        return Refusal("operator", (found.group(1) or found.group(2)) if found else summary(error))
    return Refusal("export", summary(error))


def summary(error):
    """One line of what can be a page."""
    text = str(error).split("## Exception summary")[-1]
    text = re.sub(r"\x1b\[[0-9;]*m", "", text).strip()
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0] if lines else ''}"[:500]


def case(torch, model, inputs, sizes, at):
    outputs = answers(torch, model, inputs, sizes, at)
    for (name, first), (_, second) in zip(outputs, answers(torch, model, inputs, sizes, at)):
        if first.shape != second.shape or not alike(torch, first, second):
            raise Refusal("random", name)
    tensors = [(each.name, each.of(torch, sizes, at)) for each in inputs]
    return {
        "inputs": [saved(torch, name, each, f"case-{at}-input-{of}.bin") for of, (name, each) in enumerate(tensors)],
        "outputs": [saved(torch, name, each, f"case-{at}-output-{of}.bin") for of, (name, each) in enumerate(outputs)],
    }


def saved(torch, name, tensor, file):
    tensor = tensor.cpu().contiguous()
    size = tensor.numel() * tensor.element_size()
    with open(os.path.join(FOLDER, file), "wb") as out:
        # Without NumPy, which PyTorch does not need.
        out.write(ctypes.string_at(tensor.data_ptr(), size) if size else b"")
    return {"name": name, "dtype": str(tensor.dtype)[6:], "shape": list(tensor.shape)}


if __name__ == "__main__":
    with open(os.path.join(FOLDER, "job.json"), encoding="utf-8") as source:
        request = json.load(source)
    try:
        result = main(request)
    except Refusal as refusal:
        import traceback

        traceback.print_exc()
        result = {"ok": False, "problem": refusal.problem, "detail": refusal.detail}
    with open(os.path.join(FOLDER, "result.json"), "w", encoding="utf-8") as target:
        json.dump(result, target)
