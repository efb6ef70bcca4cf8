// A process that owns memory: sends references to blocks whose bytes follow from their number, and then stays until it
// is killed.
import { MemoryPool, type MemoryReference, Outbox } from '../../src/ts/ring/index.js';
import { content, DEVICE, SECRET } from './support.js';

export interface PoolOwnerArgs {
  port: number;
  /** Lengths of the blocks; block n has content(n, length). */
  lengths: number[];
}

/** What a message says of a block. */
export const encodeReference = (reference: MemoryReference): Uint8Array => {
  const { address, rkey, length, segment, segmentAddress, segmentBytes } = reference;
  return Buffer.from(JSON.stringify({ address, rkey, length, segment, segmentAddress, segmentBytes }));
};
export const decodeReference = (bytes: Uint8Array): MemoryReference =>
  JSON.parse(Buffer.from(bytes).toString()) as MemoryReference;

async function main({ port, lengths }: PoolOwnerArgs): Promise<void> {
  const pool = MemoryPool.open({ device: DEVICE });
  const outbox = await Outbox.connect({ to: { host: '127.0.0.1', port }, secret: SECRET, pool, name: 'owner' });
  for (const [n, length] of lengths.entries()) {
    const block = pool.allocate(length)!;
    block.bytes.set(content(n, length));
    await outbox.send(encodeReference(block));
  }
  await outbox.whenPublished();
  process.send?.({ published: lengths.length });
  setInterval(() => {}, 1000);
}

if (require.main === module) {
  main(JSON.parse(process.argv[2] as string) as PoolOwnerArgs).catch((error: Error) => {
    process.send?.({ failed: String(error) });
    process.disconnect();
  });
}
