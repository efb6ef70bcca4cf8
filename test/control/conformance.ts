// What every control store must do. Run over each of them.
//
// Invariant: nothing here knows which store it is, or times anything.
import type { Test } from 'tap';
import { type ControlStore, MAX_VALUE_BYTES, readJson, type WatchEvent } from '../../src/ts/control/index.js';
import { codeOf } from '../pipeline/support.js';

/** Two stores over the same records, none yet, as two nodes would open them; closed with the test. */
export type OpenTwo = (t: Test) => Promise<[ControlStore, ControlStore]>;

const bytes = (...values: number[]) => Uint8Array.from(values);

/** A watch in words: `a=1`, `-a`, `restarted`, `synced`. Values must be JSON. */
export class Seen {
  readonly words: string[] = [];
  readonly controller = new AbortController();
  readonly over: Promise<string>;
  private onWord: (() => void) | undefined;

  constructor(store: ControlStore, prefix: string) {
    this.over = this.read(store.watch(prefix, this.controller.signal));
  }

  private async read(watch: AsyncIterable<WatchEvent>): Promise<string> {
    try {
      for await (const event of watch) {
        if (event.type === 'put') this.words.push(`${event.entry.key}=${JSON.stringify(readJson(event.entry))}`);
        else this.words.push(event.type === 'delete' ? `-${event.key}` : event.type);
        this.onWord?.();
      }
      return 'ended';
    } catch (error) {
      return (error as { code: string }).code;
    } finally {
      this.onWord?.();
    }
  }

  /** Waits until the watcher has seen this. */
  async until(word: string, times = 1): Promise<void> {
    while (this.words.filter((seen) => seen === word).length < times) {
      await new Promise<void>((resolve) => {
        this.onWord = resolve;
      });
    }
  }
}

export function conformance(t: Test, openTwo: OpenTwo): void {
  void t.test('a record is read as it was written, by everybody', async (t) => {
    const [one, two] = await openTwo(t);
    t.equal(await one.get('a'), undefined);
    const first = await one.put('a', bytes(0, 255, 128));
    t.ok(Number.isSafeInteger(first) && first >= 1);
    t.strictSame({ ...(await two.get('a')), value: 0 }, { key: 'a', value: 0, revision: first });
    t.strictSame([...(await two.get('a'))!.value], [0, 255, 128]);
    const second = await two.put('a', { list: [1, 'ä', null], none: undefined });
    t.ok(second > first, 'revisions grow');
    const entry = (await one.get('a'))!;
    t.equal(entry.revision, second);
    t.strictSame(readJson(entry), { list: [1, 'ä', null] });
    t.ok((await one.put('b/0.c-d_e=f', bytes())) > second, 'over all keys');
    t.equal((await two.get('b/0.c-d_e=f'))!.value.byteLength, 0);
  });

  void t.test('put() copies its value, and get() returns a copy', async (t) => {
    const [one] = await openTwo(t);
    const value = bytes(1, 2);
    await one.put('a', value);
    value.fill(9);
    const read = (await one.get('a'))!.value;
    t.strictSame([...read], [1, 2]);
    read.fill(9);
    t.strictSame([...(await one.get('a'))!.value], [1, 2]);
  });

  void t.test('a write that expects another revision changes nothing', async (t) => {
    const [one, two] = await openTwo(t);
    t.equal(await codeOf(one.put('a', 1, { expected: 7 })), 'RDMA_ERR_CONFLICT', 'there is none');
    const first = await one.put('a', 1, { expected: 0 });
    t.equal(await codeOf(two.put('a', 2, { expected: 0 })), 'RDMA_ERR_CONFLICT');
    const second = await two.put('a', 3, { expected: first });
    t.equal(await codeOf(one.put('a', 4, { expected: first })), 'RDMA_ERR_CONFLICT');
    t.equal(await codeOf(one.delete('a', first)), 'RDMA_ERR_CONFLICT');
    const entry = (await one.get('a'))!;
    t.strictSame([entry.revision, readJson(entry)], [second, 3]);
    await one.put('b', 1);
    t.equal(await codeOf(one.put('a', 5, { expected: second })), 'ok', 'other records do not matter');
  });

  void t.test('of many that write the same revision one wins', async (t) => {
    const [one, two] = await openTwo(t);
    let revision = 0;
    for (let round = 0; round < 20; round++) {
      const expected = revision;
      const writes = Array.from({ length: 6 }, (_, i) => (i % 2 === 0 ? one : two).put('a', i, { expected }));
      const results = await Promise.allSettled(writes);
      const won = results.filter((result) => result.status === 'fulfilled');
      t.equal(won.length, 1);
      for (const result of results) if (result.status === 'rejected') t.equal(result.reason.code, 'RDMA_ERR_CONFLICT');
      revision = won[0]!.value;
    }
  });

  void t.test('a deleted record is gone, and may be written as new', async (t) => {
    const [one, two] = await openTwo(t);
    await one.delete('a');
    t.equal(await codeOf(one.delete('a', 3)), 'RDMA_ERR_CONFLICT');
    const first = await one.put('a', 1);
    await two.delete('a', first);
    t.equal(await one.get('a'), undefined);
    t.equal(await codeOf(one.put('a', 2, { expected: first })), 'RDMA_ERR_CONFLICT');
    const second = await one.put('a', 2, { expected: 0 });
    t.ok(second > first);
    await one.delete('a');
    t.equal(await two.get('a'), undefined);
    t.equal(await codeOf(two.delete('a', second)), 'RDMA_ERR_CONFLICT');
  });

  void t.test('a watcher sees what is there, then that it was all, then each change', async (t) => {
    const [one, two] = await openTwo(t);
    const empty = new Seen(two, 'n.');
    await empty.until('synced');
    t.strictSame(empty.words, ['synced'], 'also that there is nothing');
    await one.put('n.a', 1);
    await one.put('n.b', 1);
    await one.put('n.gone', 1);
    await one.delete('n.gone');
    await one.put('m.a', 1);
    await one.put('n', 1);
    await empty.until('-n.gone');
    const full = new Seen(two, 'n.');
    await full.until('synced');
    t.strictSame([...full.words].sort(), ['n.a=1', 'n.b=1', 'synced']);
    t.equal(full.words[2], 'synced');
    await one.put('n.b', 2);
    await full.until('n.b=2');
    await two.delete('n.a');
    await full.until('-n.a');
    await one.put('n.a', 3, { expected: 0 });
    await full.until('n.a=3');
    t.strictSame(full.words.slice(3), ['n.b=2', '-n.a', 'n.a=3'], 'in their order, and none twice');
  });

  void t.test('a watch is of one record, of those below a prefix, or of all', async (t) => {
    const [one] = await openTwo(t);
    const watches = ['a', 'a.', 'a.b.', ''].map((prefix) => new Seen(one, prefix));
    for (const watch of watches) await watch.until('synced');
    for (const key of ['ab', 'a', 'a.b', 'a.b.c', 'a.bc.d']) await one.put(key, 0);
    await one.put('a', 9);
    await one.put('a.b.c', 9);
    await watches[0]!.until('a=9');
    for (const watch of watches.slice(1)) await watch.until('a.b.c=9');
    t.strictSame(
      watches.map(({ words }) => words.slice(1).join(' ')),
      ['a=0 a=9', 'a.b=0 a.b.c=0 a.bc.d=0 a.b.c=9', 'a.b.c=0 a.b.c=9', 'ab=0 a=0 a.b=0 a.b.c=0 a.bc.d=0 a=9 a.b.c=9'],
    );
  });

  void t.test('a watcher that reads late gets the last of each record', async (t) => {
    const [one] = await openTwo(t);
    const watch = one.watch('a.', new AbortController().signal)[Symbol.asyncIterator]();
    t.strictSame((await watch.next()).value, { type: 'synced' });
    const witness = new Seen(one, 'a.');
    for (let i = 0; i < 200; i++) await one.put(`a.${i % 2}`, i);
    await one.put('a.end', 0);
    await witness.until('a.end=0');
    const seen: string[] = [];
    while (!seen.includes('a.end=0')) {
      const event = (await watch.next()).value as WatchEvent;
      if (event.type === 'put') seen.push(`${event.entry.key}=${readJson(event.entry)}`);
    }
    t.strictSame(seen.slice(-3), ['a.0=198', 'a.1=199', 'a.end=0']);
    await watch.return!();
  });

  void t.test('a watch ends when its signal is aborted, and when its loop is left', async (t) => {
    const [one] = await openTwo(t);
    const seen = new Seen(one, '');
    await seen.until('synced');
    seen.controller.abort();
    t.equal(await seen.over, 'ended');
    t.equal(await new Seen(one, '').until('synced'), undefined);
    const aborted = new AbortController();
    aborted.abort();
    for await (const _ of one.watch('', aborted.signal)) t.fail('an aborted watch gets nothing');
    for await (const _ of one.watch('', new AbortController().signal)) break;
  });

  void t.test('after close() there is nothing, and whoever watches learns it', async (t) => {
    const [one, two] = await openTwo(t);
    const seen = new Seen(one, '');
    await seen.until('synced');
    await one.close();
    await one.close();
    t.equal(await seen.over, 'RDMA_ERR_CLOSED');
    t.equal(await codeOf(one.get('a')), 'RDMA_ERR_CLOSED');
    t.equal(await codeOf(one.put('a', 1)), 'RDMA_ERR_CLOSED');
    t.equal(await codeOf(one.delete('a')), 'RDMA_ERR_CLOSED');
    t.throws(() => one.watch('', new AbortController().signal), { code: 'RDMA_ERR_CLOSED' });
    t.equal(await codeOf(two.put('a', 1)), 'ok');
  });

  void t.test('arguments are checked at the door', async (t) => {
    const [one] = await openTwo(t);
    const keys = ['', '.a', 'a.', 'a..b', 'a b', 'a*', 'a.>', 'ä', 'a\n', 'x'.repeat(251), 3, null, undefined];
    for (const key of keys as string[]) {
      t.equal(await codeOf(one.get(key)), 'RDMA_ERR_INVALID_ARGUMENT', JSON.stringify(key));
      t.equal(await codeOf(one.put(key, 1)), 'RDMA_ERR_INVALID_ARGUMENT');
      t.equal(await codeOf(one.delete(key)), 'RDMA_ERR_INVALID_ARGUMENT');
    }
    const cyclic: { self?: unknown } = {};
    cyclic.self = cyclic;
    for (const value of [undefined, () => 0, Symbol('x'), 3n, cyclic] as never[])
      t.equal(await codeOf(one.put('a', value)), 'RDMA_ERR_INVALID_ARGUMENT');
    for (const expected of [-1, 0.5, '1', Number.NaN] as number[]) {
      t.equal(await codeOf(one.put('a', 1, { expected })), 'RDMA_ERR_INVALID_ARGUMENT');
      t.equal(await codeOf(one.delete('a', expected)), 'RDMA_ERR_INVALID_ARGUMENT');
    }
    t.equal(await codeOf(one.delete('a', 0)), 'RDMA_ERR_INVALID_ARGUMENT');
    const { signal } = new AbortController();
    for (const prefix of ['.', '.a', 'a..', '*', 'a.>', 3] as string[])
      t.throws(() => one.watch(prefix, signal), { code: 'RDMA_ERR_INVALID_ARGUMENT' });
    t.throws(() => one.watch('', undefined as never), { code: 'RDMA_ERR_INVALID_ARGUMENT' });
    t.equal(await one.get('a'), undefined);
  });

  void t.test('a value has a limit, and the largest is carried whole', async (t) => {
    const [one, two] = await openTwo(t);
    const large = new Uint8Array(MAX_VALUE_BYTES).map((_, i) => i % 251);
    await one.put('a', large);
    t.ok(Buffer.from((await two.get('a'))!.value).equals(large));
    t.equal(await codeOf(one.put('a', new Uint8Array(MAX_VALUE_BYTES + 1))), 'RDMA_ERR_MESSAGE_TOO_LARGE');
    t.equal(await codeOf(one.put('a', 'x'.repeat(MAX_VALUE_BYTES))), 'RDMA_ERR_MESSAGE_TOO_LARGE');
    await two.put('a', Uint8Array.from([123]));
    t.throws(() => readJson({ key: 'a', value: Uint8Array.from([123]), revision: 1 }), { code: 'RDMA_ERR_PROTOCOL' });
  });
}
