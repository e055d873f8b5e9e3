import { Writable } from 'node:stream';

/** A terminal that keeps what is written to it. */
export class RecordedTerminal {
  readonly stdout = new RecordedStream();
  readonly stderr = new RecordedStream();
}

export class RecordedStream extends Writable {
  readonly isTTY = false;
  text = '';

  override _write(chunk: Buffer, _encoding: string, done: () => void): void {
    this.text += chunk.toString('utf8');
    done();
  }
}
