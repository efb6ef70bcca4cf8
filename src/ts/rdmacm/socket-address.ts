// IP addresses with ports: as people write them, as Node.js resolves them, as native code takes them.
//
// Invariant: the 24 bytes are those drawn in src/native/addon/cm.cc; encode() and decode() undo each other.
import { lookup } from 'node:dns/promises';
import { BlockList, isIP, isIPv4, isIPv6, SocketAddress as NodeSocketAddress } from 'node:net';
import { networkInterfaces } from 'node:os';
import { RdmaError, systemCode } from '../core/errors.js';
import { checkInteger, checkString, invalidArgument } from '../core/validate.js';

/** An IP address and a port; `address` may name the interface of a link-local IPv6 address, as in `fe80::1%eth0`. */
export interface CmSocketAddress {
  address: string;
  port: number;
}

const BYTES = 24;

/** @throws RdmaError RDMA_ERR_INVALID_ARGUMENT naming `name` */
export function encodeAddress(name: string, value: CmSocketAddress): Uint8Array {
  const port = checkInteger(`${name}.port`, value?.port, 0, 65535);
  const text = checkString(`${name}.address`, value.address, { maxLength: 64 });
  const [address = '', zone] = text.split('%', 2);
  const bytes = new Uint8Array(BYTES);
  const view = new DataView(bytes.buffer);
  view.setUint16(2, port, true);
  if (isIPv4(text)) {
    bytes[0] = 4;
    bytes.set(text.split('.').map(Number), 8);
    return bytes;
  }
  if (!isIPv6(address)) throw invalidArgument(`${name}.address`, text, 'an IPv4 or IPv6 address');
  bytes[0] = 6;
  if (zone !== undefined) view.setUint32(4, scopeOf(`${name}.address`, zone), true);
  bytes.set(ipv6Bytes(address), 8);
  return bytes;
}

/** The number of an interface: given as a number, or by its name. */
function scopeOf(name: string, zone: string): number {
  if (/^\d{1,9}$/.test(zone)) return Number(zone);
  const found = networkInterfaces()[zone]?.find((entry) => entry.family === 'IPv6');
  if (found?.family === 'IPv6' && found.scopeid > 0) return found.scopeid;
  throw invalidArgument(name, zone, 'the name or number of a network interface with an IPv6 address after %');
}

function ipv6Bytes(address: string): Uint8Array {
  // The last 32 bits may be written as IPv4.
  const dotted = /^(.*:)(\d+)\.(\d+)\.(\d+)\.(\d+)$/.exec(address);
  const hex = (high: string, low: string) => (Number(high) * 256 + Number(low)).toString(16);
  const text = dotted === null ? address : `${dotted[1]}${hex(dotted[2]!, dotted[3]!)}:${hex(dotted[4]!, dotted[5]!)}`;
  const [head = '', tail] = text.split('::', 2);
  const words = (part: string) => (part === '' ? [] : part.split(':').map((word) => Number.parseInt(word, 16)));
  const before = words(head);
  const after = tail === undefined ? [] : words(tail);
  const all = [...before, ...new Array<number>(8 - before.length - after.length).fill(0), ...after];
  return Uint8Array.from(all.flatMap((word) => [word >> 8, word & 255]));
}

/** The address in 24 bytes from native code; undefined where there is none. */
export function decodeAddress(bytes: Uint8Array): CmSocketAddress | undefined {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const port = view.getUint16(2, true);
  if (bytes[0] === 4) return { address: bytes.subarray(8, 12).join('.'), port };
  if (bytes[0] !== 6) return undefined;
  const words = Array.from({ length: 8 }, (_, i) => view.getUint16(8 + 2 * i).toString(16));
  // Node.js writes it in the usual short form.
  const { address } = new NodeSocketAddress({ address: words.join(':'), family: 'ipv6' });
  const scope = view.getUint32(4, true);
  return { address: scope === 0 ? address : `${address}%${scope}`, port };
}

/** An address for people: `10.0.0.1:7174`, `[fe80::1%2]:7174`. */
export function formatAddress({ address, port }: CmSocketAddress): string {
  return isIPv4(address) ? `${address}:${port}` : `[${address}]:${port}`;
}

/** Whether the address means "every address of this machine". */
export function isWildcard(address: string): boolean {
  const wildcards = new BlockList();
  wildcards.addAddress('0.0.0.0');
  wildcards.addAddress('::', 'ipv6');
  return isIPv6(address) ? wildcards.check(address, 'ipv6') : wildcards.check(address);
}

/**
 * The address of a host, asked from the system (getaddrinfo(3)) unless it is an address already.
 *
 * @throws RdmaError with the system's code, such as ENOTFOUND
 */
export async function resolveHost(host: string, port: number): Promise<CmSocketAddress> {
  if (isIP(host.split('%', 1)[0] ?? '') !== 0) return { address: host, port };
  try {
    const { address } = await lookup(host);
    return { address, port };
  } catch (cause) {
    const { code, syscall, errno } = cause as NodeJS.ErrnoException;
    throw new RdmaError(code === undefined ? 'EAI_FAIL' : systemCode(code), `the address of ${host} was not found`, {
      cause,
      syscall: syscall ?? 'getaddrinfo',
      remedy: 'check the name, or give an IP address of an RDMA interface',
      ...(typeof errno === 'number' ? { errno } : {}),
    });
  }
}
