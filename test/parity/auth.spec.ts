import { describeReplay } from './replay-suite.js';

await describeReplay('auth.jsonl');
