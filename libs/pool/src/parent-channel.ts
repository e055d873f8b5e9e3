import { writeSync } from 'node:fs';
import { Socket, type ConnectOpts, type SocketConstructorOpts } from 'node:net';
import { takeBuffer } from './buffer-pool.js';
import { FrameReader, toFrame } from './frames.js';
import type { PacketReader, PacketWriter } from './packet.js';
import { SocketChannel } from './socket-channel.js';

/** The argument that tells a process that it is a worker; its name follows. */
export const CHILD_FLAG = '--marline-worker';
/** Where a worker process finds the socket to its pool. */
export const CHANNEL_FD = 3;
/** How long a process that exits tries to hand over its last answers. */
const LAST_WORDS_MS = 1000;

/** True in a process that a `ProcessWorker` started. */
export function isChild(): boolean {
  return process.argv[2] === CHILD_FLAG;
}

/**
 * A worker process's channel to its pool. The process ends when the other end is gone: nobody is left to work for.
 * @param receive is called with every packet that arrives
 */
export function openParentChannel(receive: (packet: PacketReader) => void): SocketChannel {
  const reader = new FrameReader(receive, takeBuffer);
  const options: SocketConstructorOpts & ConnectOpts = {
    fd: CHANNEL_FD,
    readable: true,
    writable: true,
    // Reads large bytes straight into the buffer that the model gets: a body is copied by nobody but the kernel.
    onread: {
      buffer: () => reader.target(),
      callback: (count) => {
        reader.filled(count);
        return true;
      },
    },
  };
  const socket = new Socket(options);
  socket.once('error', () => process.exit());
  socket.once('close', () => process.exit());
  return new ChildChannel(socket);
}

/** Also sends what is posted while the process exits, when no socket writes any more. */
class ChildChannel extends SocketChannel {
  #exiting = false;

  constructor(socket: Socket) {
    super(socket);
    process.once('exit', () => {
      this.#exiting = true;
    });
  }

  override post(packet: PacketWriter): void {
    if (!this.#exiting) super.post(packet);
    // Behind half a packet another one would be garbage.
    else if (this.socket.writableLength === 0 && !this.socket.destroyed) writeNow(toFrame(packet));
  }
}

function writeNow(frame: readonly Uint8Array[]): void {
  const end = performance.now() + LAST_WORDS_MS;
  for (const part of frame) {
    for (let at = 0; at < part.byteLength;) {
      try {
        at += writeSync(CHANNEL_FD, part, at);
      } catch (error) {
        // The socket is full: the pool reads it at this moment.
        if ((error as NodeJS.ErrnoException).code !== 'EAGAIN' || performance.now() > end) return;
      }
    }
  }
}
