// Proves: messages come out of a stream as they were put in, however it is cut, and without a copy.
import t from 'tap';
import { Splitter, unix } from '../../../bench/peers/messengers/sockets.js';
import { scratch } from '../../cli/command.js';

function framed(...messages: Buffer[]): Buffer {
  return Buffer.concat(
    messages.flatMap((message) => {
      const header = Buffer.alloc(4);
      header.writeUInt32LE(message.length);
      return [header, message];
    }),
  );
}

void t.test('at every cut the same messages come out', async (t) => {
  const messages = [Buffer.from('a'), Buffer.alloc(300, 7), Buffer.from('three')];
  const stream = framed(...messages);
  for (const step of [1, 2, 3, 5, 64, 303, stream.length]) {
    const out: Buffer[] = [];
    const splitter = new Splitter((pieces) => out.push(Buffer.concat(pieces)));
    for (let at = 0; at < stream.length; at += step) splitter.take(stream.subarray(at, at + step));
    t.strictSame(out, messages, `in steps of ${step}`);
  }
});

void t.test('a piece is a view of what was read', async (t) => {
  const stream = framed(Buffer.from('whole'));
  let piece: Uint8Array | undefined;
  new Splitter((pieces) => {
    piece = pieces[0];
  }).take(stream);
  t.equal(piece!.buffer, stream.buffer);
});

void t.test('what the hub sends before a dialer has come waits for it, in order', async (t) => {
  const context = { folder: scratch(), service: '', sizeBytes: 5, producers: 1 };
  const hub = await unix.listen(context, () => {});
  const sent = ['first', 'other'].map((word) => hub.send(3, Buffer.from(word)));
  const came: string[] = [];
  const all = new Promise<void>((resolve) => {
    void unix
      .dial(context, 3, (message) => {
        came.push(Buffer.concat(message).toString());
        if (came.length === sent.length) resolve();
      })
      .then(async (dialer) => {
        await all;
        await dialer.close();
        await hub.close();
      });
  });
  await Promise.all([all, ...sent]);
  t.strictSame(came, ['first', 'other']);
});
