import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { Agent, request, type ClientRequest } from 'node:http';
import { createServer, type AddressInfo, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { run } from '../../src/program.js';
import { RecordedTerminal } from '../cli/terminal.js';
import { MarlineProcess, readiness } from './server-process.js';

const fixtures = fileURLToPath(new URL('../fixtures/', import.meta.url));
const free = {
  MARLINE_INFERENCE_ADDRESS: 'http://127.0.0.1:0',
  MARLINE_MANAGEMENT_ADDRESS: 'http://127.0.0.1:0',
  MARLINE_METRICS_ADDRESS: 'http://127.0.0.1:0',
};
