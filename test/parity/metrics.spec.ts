import { describeReplay } from './replay-suite.js';

await describeReplay('metrics.jsonl');
