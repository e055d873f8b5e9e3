import { serveWorker } from '#libs/pool';
import { loadOnnxEngine } from './onnx-engine.js';

// The entry of a worker thread or process.
serveWorker(loadOnnxEngine);
