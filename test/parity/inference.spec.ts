import { describeReplay } from './replay-suite.js';

await describeReplay('inference.jsonl');
