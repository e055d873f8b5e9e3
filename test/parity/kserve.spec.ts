import { describeReplay } from './replay-suite.js';

await describeReplay('kserve.jsonl');
