// What the pingpong programs of rdma-core tell each other over TCP before the first message.
//
// Invariant: any bytes in any pieces give exactly the addresses that were asked for, or one typed error; no more is
// kept than was asked for.
//
//   address, 52 bytes of text                                     client                         server
//   0    4 5      11 12     18 19               51                address x count  ──────────▶   connects
//   | lid |:| qpn  |:| psn   |:| gid            |NUL|             connects  ◀──────────   address x count
//                                                                "done", NUL      ──────────▶   begins
//
// ibv_rc_pingpong, ibv_uc_pingpong and ibv_ud_pingpong exchange one address, ibv_srq_pingpong always 256, of which
// those that it does not use are all zeros. Their text is "%04x:%06x:%06x:%s" (ibv_rc_pingpong(1) and its sources).
import { RdmaError } from '../../core/errors.js';
import { checkInteger, checkString } from '../../core/validate.js';

/** Where ibv_*_pingpong listen. */
export const PINGPONG_PORT = 18515;
/** How many addresses ibv_srq_pingpong exchanges, however many queue pairs it uses. */
export const PINGPONG_SRQ_ADDRESSES = 256;
/** Length of one address. */
export const PINGPONG_ADDRESS_BYTES = 52;
/** What the client says last. */
export const PINGPONG_DONE: Uint8Array = Buffer.from('done\0', 'latin1');

/** How one queue pair is reached. */
export interface PingPongAddress {
  /** 16 bits; 0 on Ethernet. */
  lid: number;
  /** 24 bits. */
  qpNum: number;
  /** First packet sequence number, 24 bits. */
  psn: number;
  /** 32 hexadecimal digits in network order; all 0 when the LID is enough. */
  gid: string;
}

export const NO_GID = '0'.repeat(32);
const UNUSED: PingPongAddress = { lid: 0, qpNum: 0, psn: 0, gid: NO_GID };

/**
 * Encodes addresses, with as many unused ones behind them as make `count`.
 *
 * @param addresses at most `count`
 * @param count 1 to 256
 * @returns `count` times 52 bytes, to be written in one piece: the C programs read each answer with one read(2)
 * @throws RdmaError RDMA_ERR_INVALID_ARGUMENT for a field that does not fit
 */
export function encodePingPong(addresses: readonly PingPongAddress[], count: number): Buffer {
  checkInteger('count', count, Math.max(1, addresses.length), PINGPONG_SRQ_ADDRESSES);
  const bytes = Buffer.alloc(count * PINGPONG_ADDRESS_BYTES);
  for (let i = 0; i < count; i++) {
    const { lid, qpNum, psn, gid } = addresses[i] ?? UNUSED;
    const hex = (name: string, value: number, digits: number) =>
      checkInteger(name, value, 0, 16 ** digits - 1)
        .toString(16)
        .padStart(digits, '0');
    checkString('gid', gid, { pattern: /^[0-9a-f]{32}$/i });
    const text = `${hex('lid', lid, 4)}:${hex('qpNum', qpNum, 6)}:${hex('psn', psn, 6)}:${gid.toLowerCase()}`;
    bytes.write(text, i * PINGPONG_ADDRESS_BYTES, 'latin1');
  }
  return bytes;
}

/**
 * Decodes one address.
 *
 * @param bytes 52 of them, from a peer that nobody vouches for
 * @throws RdmaError RDMA_ERR_PROTOCOL when they are anything else
 */
export function decodePingPong(bytes: Uint8Array): PingPongAddress {
  const text = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('latin1');
  const match = /^([0-9a-f]{4}):([0-9a-f]{6}):([0-9a-f]{6}):([0-9a-f]{32})\0$/i.exec(text);
  if (match === null) {
    const shown = JSON.stringify(text.slice(0, PINGPONG_ADDRESS_BYTES));
    throw new RdmaError('RDMA_ERR_PROTOCOL', `the peer does not speak the bootstrap of ibv_*_pingpong: ${shown}`, {
      remedy: 'is another program on that port?',
    });
  }
  const number = (at: number) => Number.parseInt(match[at]!, 16);
  return { lid: number(1), qpNum: number(2), psn: number(3), gid: match[4]!.toLowerCase() };
}

/** Takes what comes from the socket, in any pieces. */
export class PingPongParser {
  /** Complete once this many have come. */
  readonly addresses: PingPongAddress[] = [];
  private done = false;
  private readonly held = Buffer.alloc(PINGPONG_ADDRESS_BYTES);
  private heldBytes = 0;

  /**
   * @param count addresses to come, 1 or 256
   * @param fromClient whether "done" follows them
   */
  constructor(
    private readonly count: number,
    private readonly fromClient: boolean,
  ) {}

  /** Whether all addresses are there. */
  get complete(): boolean {
    return this.addresses.length === this.count;
  }

  /** Whether everything is there: of a client, "done" as well. */
  get finished(): boolean {
    return this.complete && (this.done || !this.fromClient);
  }

  /** @throws RdmaError RDMA_ERR_PROTOCOL at the first byte string that cannot be */
  push(chunk: Uint8Array): void {
    let at = 0;
    while (at < chunk.byteLength) {
      const wanted = this.wantedBytes();
      const part = chunk.subarray(at, at + wanted - this.heldBytes);
      this.held.set(part, this.heldBytes);
      this.heldBytes += part.byteLength;
      at += part.byteLength;
      if (this.heldBytes < wanted) return;
      this.take(this.held.subarray(0, wanted));
      this.heldBytes = 0;
    }
  }

  private wantedBytes(): number {
    if (!this.complete) return PINGPONG_ADDRESS_BYTES;
    if (this.fromClient && !this.done) return PINGPONG_DONE.byteLength;
    throw new RdmaError('RDMA_ERR_PROTOCOL', 'the peer says more than the bootstrap of ibv_*_pingpong has', {
      remedy: 'give both sides the same --type',
    });
  }

  private take(bytes: Uint8Array): void {
    if (!this.complete) {
      this.addresses.push(decodePingPong(bytes));
    } else if (Buffer.compare(bytes, PINGPONG_DONE) === 0) {
      this.done = true;
    } else {
      throw new RdmaError('RDMA_ERR_PROTOCOL', 'the client does not end its bootstrap with "done"', {
        remedy: 'give both sides the same --type',
      });
    }
  }
}
