import type { MessagePort } from 'node:worker_threads';
import { PacketReader, type PacketWriter } from './packet.js';

/** One end of the way between a pool and a worker. What is posted arrives whole and in order. */
export interface Channel {
  /**
   * Sends a packet; its large bytes belong to the channel from then on.
   * @throws DataCloneError when a value cannot be cloned; nothing was sent or moved then
   */
  post(packet: PacketWriter): void;
  /** Gives the buffer of an input back to where the next one is read. True when it is written to `packet`, to be sent. */
  giveBack(buffer: ArrayBuffer, packet: PacketWriter): boolean;
  close(): void;
}

/** A channel between threads: packets are cloned, their large buffers are moved. */
export class PortChannel implements Channel {
  readonly #port: MessagePort;

  /** @param receive is called with every packet that arrives */
  constructor(port: MessagePort, receive: (packet: PacketReader) => void) {
    this.#port = port;
    port.on('message', (values: unknown[]) => receive(new PacketReader(values)));
  }

  post(packet: PacketWriter): void {
    const { values, large, smallBytes } = packet;
    if (smallBytes > 0) {
      const small = new Uint8Array(smallBytes);
      packet.copySmall(small, 0);
      values[1] = small;
    }
    if (large.length === 0) {
      this.#port.postMessage(values);
      return;
    }
    values[2] = large;
    const buffers = new Set(large.map((view) => view.buffer));
    try {
      this.#port.postMessage(values, [...buffers]);
    } catch {
      // One of them cannot be moved (an add-on's memory, a WebAssembly memory): all are copied.
      this.#port.postMessage(values);
    }
  }

  giveBack(buffer: ArrayBuffer, packet: PacketWriter): boolean {
    return packet.give(buffer);
  }

  close(): void {
    this.#port.close();
  }
}
