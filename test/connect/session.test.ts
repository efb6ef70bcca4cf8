// Invariant under test: a frame opens once, in its place, at the other side, as it was sealed, or not at all.

import { randomBytes } from 'node:crypto';
import { createHash } from 'node:crypto';
import t from 'tap';
import { computeProof, deriveSessionKeys, sameBytes, toSecretBytes } from '../../src/ts/connect/credentials.js';
import { type Frame, FrameType } from '../../src/ts/connect/frame.js';
import { FrameParser } from '../../src/ts/connect/frame-parser.js';
import { Session } from '../../src/ts/connect/session.js';
import { isRdmaError } from '../../src/ts/core/errors.js';

const keys = deriveSessionKeys(randomBytes(16), randomBytes(32), randomBytes(32), [Buffer.from('said')]);

function pair(): { client: Session; server: Session } {
  return { client: new Session('client', keys, 'server', 1), server: new Session('server', keys, 'client', 1) };
}

function open(session: Session, bytes: Buffer): string | undefined {
  let body: string | undefined;
  const parser = new FrameParser();
  parser.trustPeer();
  parser.push(bytes, (frame: Frame) => {
    body = Buffer.from(session.open(frame)).toString();
  });
  return body;
}

const code = 'RDMA_ERR_PROTOCOL';

void t.test('frames open in order', async (t) => {
  const { client, server } = pair();
  for (let i = 0; i < 5; i += 1) t.equal(open(server, client.seal(FrameType.MESSAGE, Buffer.from(`m${i}`))), `m${i}`);
  t.equal(open(client, server.seal(FrameType.MESSAGE, Buffer.from('back'))), 'back');
});

void t.test('a repeated, skipped or reflected frame does not open', async (t) => {
  const { client, server } = pair();
  const first = client.seal(FrameType.MESSAGE, Buffer.from('1'));
  const second = client.seal(FrameType.MESSAGE, Buffer.from('2'));
  t.throws(() => open(server, second), { code }, 'out of order');
  t.equal(open(server, first), '1');
  t.throws(() => open(server, first), { code }, 'repeated');
  t.equal(open(server, second), '2');
  t.throws(() => open(pair().client, first), { code }, 'sent back to its author');
});

void t.test('a bit flipped anywhere keeps a frame from opening', async (t) => {
  const sealed = pair().client.seal(FrameType.MESSAGE, Buffer.from('{"a":1}'));
  for (let at = 0; at < sealed.byteLength; at += 1) {
    for (let bit = 0; bit < 8; bit += 1) {
      const flipped = Buffer.from(sealed);
      flipped[at] = (flipped[at] ?? 0) ^ (1 << bit);
      try {
        if (open(pair().server, flipped) !== undefined) t.fail(`byte ${at}, bit ${bit}`);
      } catch (error) {
        if (!isRdmaError(error)) throw error;
      }
    }
  }
  t.pass('no flipped bit opens');
});

void t.test('keys differ by direction, nonce, secret and what was said', async (t) => {
  const secret = Buffer.from('a secret of some length');
  const [a, b] = [Buffer.alloc(32, 1), Buffer.alloc(32, 2)];
  const said = [Buffer.from('x')];
  const all = [
    deriveSessionKeys(secret, a, b, said),
    deriveSessionKeys(secret, b, a, said),
    deriveSessionKeys(secret, a, b, [Buffer.from('y')]),
    deriveSessionKeys(Buffer.from('another secret'), a, b, said),
  ].flatMap((k) => [k.fromClient.toString('hex'), k.fromServer.toString('hex')]);
  t.equal(new Set(all).size, 8);
  t.strictSame(deriveSessionKeys(secret, a, b, said), deriveSessionKeys(secret, a, b, said));
});

void t.test('secrets that differ in any way have nothing in common', async (t) => {
  const [nonce, said] = [Buffer.alloc(32, 1), [Buffer.from('x')]];
  const long = Buffer.alloc(65, 'long secret ');
  const secrets = [
    Buffer.from('a secret'),
    Buffer.from('a secret\0'),
    Buffer.from('a secret\0\0'),
    Buffer.from('\0a secret'),
    Buffer.concat([Buffer.from('a secret'), Buffer.alloc(56)]),
    long,
    createHash('sha256').update(long).digest(),
    Buffer.concat([createHash('sha256').update(long).digest(), Buffer.alloc(1)]),
  ];
  const all = secrets.flatMap((secret) => {
    const keys = deriveSessionKeys(secret, nonce, nonce, said);
    return [computeProof(secret, 'client', said), computeProof(secret, 'server', said), ...Object.values(keys)];
  });
  t.equal(new Set(all.map((bytes: Buffer) => bytes.toString('hex'))).size, 4 * secrets.length);
});

void t.test('a proof is of one role, one secret and all that was said', async (t) => {
  const said = [Buffer.from('ab'), Buffer.from('c')];
  const secret = Buffer.from('a secret of some length');
  const proofs = [
    computeProof(secret, 'client', said),
    computeProof(secret, 'server', said),
    computeProof(Buffer.from('another secret'), 'client', said),
    computeProof(secret, 'client', said.slice(0, 1)),
  ];
  t.equal(new Set(proofs.map((proof) => proof.toString('hex'))).size, 4);
  t.ok(sameBytes(proofs[0]!, computeProof(secret, 'client', said)));
  t.notOk(sameBytes(proofs[0]!, proofs[0]!.subarray(1)), 'lengths differ');
});

void t.test('a secret is a string or bytes of 8 to 4096 bytes, and never shown', async (t) => {
  t.equal(toSecretBytes('secret', '12345678').byteLength, 8);
  t.equal(toSecretBytes('secret', 'ññññ').byteLength, 8, 'bytes count, not characters');
  t.equal(toSecretBytes('secret', 'a key: \u{1f511}\ufffd\ufeff').byteLength, 17);
  for (const half of ['a secret\ud800', 'a secret\udfff', '\udd11\ud83d a secret']) {
    t.throws(() => toSecretBytes('secret', half), { code: 'RDMA_ERR_INVALID_ARGUMENT', message: /well-formed/ });
  }
  t.equal(toSecretBytes('secret', new Uint8Array(4096)).byteLength, 4096);
  t.equal(toSecretBytes('secret', new ArrayBuffer(16)).byteLength, 16);
  const mine = Buffer.from('12345678');
  const taken = toSecretBytes('secret', mine);
  mine.fill(0);
  t.equal(taken.toString(), '12345678', 'it is a copy');
  for (const bad of ['hunter2', '', Buffer.alloc(7), 'x'.repeat(4097), 12345678, null, undefined, ['12345678']]) {
    t.throws(() => toSecretBytes('secret', bad), { code: 'RDMA_ERR_INVALID_ARGUMENT', message: /^((?!hunter2).)*$/s });
  }
});
