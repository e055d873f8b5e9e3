#!/usr/bin/env node
import { setFlagsFromString } from 'node:v8';
import { run } from './program.js';

// V8 takes what lives as long as a request for what lives for ever, and allocates it where only full collections reach:
// 3 KB of every request then survive, and collecting them costs a fifth of the CPU of a small request.
setFlagsFromString('--no-allocation-site-pretenuring');

process.exitCode = await run(process.argv.slice(2));
