import { describeReplay } from './replay-suite.js';

await describeReplay('management.jsonl');
