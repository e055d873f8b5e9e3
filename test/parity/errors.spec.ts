import { describeReplay } from './replay-suite.js';

await describeReplay('errors.jsonl');
