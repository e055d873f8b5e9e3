import { describeReplay } from './replay-suite.js';

await describeReplay('grpc.jsonl');
