import type { Socket } from 'node:net';
import { recycleTaken } from './buffer-pool.js';
import type { Channel } from './channel.js';
import { toFrame } from './frames.js';
import type { PacketWriter } from './packet.js';

/** A channel between processes: packets are written to a socket, large bytes straight from where they lie. */
export class SocketChannel implements Channel {
  /** Buffers that are being written. */
  readonly #writing = new Set<ArrayBuffer>();

  constructor(readonly socket: Socket) {}

  post(packet: PacketWriter): void {
    const [head, ...parts] = toFrame(packet);
    const { socket } = this;
    const last = parts.pop();
    if (last === undefined) {
      socket.write(head);
      return;
    }
    const buffers = new Set(packet.large.map((view) => view.buffer));
    for (const buffer of buffers) this.#writing.add(buffer);
    // One system call for all parts.
    socket.cork();
    socket.write(head);
    for (const part of parts) socket.write(part);
    socket.write(last, () => {
      // Written or failed: nobody looks at these buffers any more.
      for (const buffer of buffers) {
        this.#writing.delete(buffer);
        recycleTaken(buffer);
      }
    });
    socket.uncork();
  }

  giveBack(buffer: ArrayBuffer, packet: PacketWriter): false {
    // One that an answer is written from carries the next request when that is done.
    const leaves = this.#writing.has(buffer) || packet.large.some((view) => view.buffer === buffer);
    if (!leaves) recycleTaken(buffer);
    return false;
  }

  close(): void {
    this.socket.end();
  }
}
