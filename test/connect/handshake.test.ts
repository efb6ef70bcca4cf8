// Invariant under test: nobody without the secret, and nobody who touches a byte, completes a handshake.

import { randomBytes } from 'node:crypto';
import t from 'tap';
import { encodePlainFrame, type Frame, FrameType, HEADER_BYTES } from '../../src/ts/connect/frame.js';
import { FrameParser } from '../../src/ts/connect/frame-parser.js';
import {
  ClientHandshake,
  type HandshakeOptions,
  type HandshakeStep,
  ServerHandshake,
} from '../../src/ts/connect/handshake.js';
import { encodeChallenge, encodeHello } from '../../src/ts/connect/handshake-messages.js';
import type { Session } from '../../src/ts/connect/session.js';
import { isRdmaError, RdmaError } from '../../src/ts/core/errors.js';

const SECRET = Buffer.from('correct horse battery staple');
const options: HandshakeOptions = { secret: SECRET, service: 'svc', name: 'somebody' };

function frameOf(bytes: Uint8Array): Frame | undefined {
  let found: Frame | undefined;
  new FrameParser().push(bytes, (frame) => {
    found = { ...frame, header: Buffer.from(frame.header), body: Buffer.from(frame.body) };
  });
  return found;
}

interface Outcome {
  client: Session | undefined;
  server: Session | undefined;
  clientError: RdmaError | undefined;
  serverError: RdmaError | undefined;
  flights: Buffer[];
}

/** Runs both sides; `touch` sees each of the four flights on its way and may change it. */
function run(
  clientOptions: HandshakeOptions,
  serverOptions: HandshakeOptions,
  touch: (flight: number, bytes: Buffer) => Buffer = (_, bytes) => bytes,
): Outcome {
  const client = new ClientHandshake(clientOptions);
  const server = new ServerHandshake(serverOptions);
  const outcome: Outcome = {
    client: undefined,
    server: undefined,
    clientError: undefined,
    serverError: undefined,
    flights: [],
  };
  let bytes: Buffer | undefined = client.hello;
  for (let flight = 0; bytes !== undefined && flight < 8; flight += 1) {
    const toServer = flight % 2 === 0;
    outcome.flights.push(bytes);
    const arrived = touch(flight, Buffer.from(bytes));
    bytes = undefined;
    try {
      const frame = frameOf(arrived);
      if (frame === undefined) return outcome;
      const step: HandshakeStep = toServer ? server.onFrame(frame) : client.onFrame(frame);
      bytes = step.send;
      if (step.session !== undefined) outcome[toServer ? 'server' : 'client'] = step.session;
    } catch (error) {
      if (!isRdmaError(error)) throw error;
      outcome[toServer ? 'serverError' : 'clientError'] = error;
      if (toServer) bytes = server.refusal(error);
    }
  }
  return outcome;
}

void t.test('both sides get sessions that understand each other', async (t) => {
  const { client, server } = run(options, { ...options, name: 'the server' });
  t.equal(client?.peerName, 'the server');
  t.equal(server?.peerName, 'somebody');
  t.equal(client?.version, 2);
  const sealed = frameWithTag(client?.seal(FrameType.MESSAGE, Buffer.from('hi')));
  t.equal(Buffer.from(server?.open(sealed) ?? []).toString(), 'hi');
  const answer = frameWithTag(server?.seal(FrameType.MESSAGE, Buffer.from('ho')));
  t.equal(Buffer.from(client?.open(answer) ?? []).toString(), 'ho');
});

function frameWithTag(bytes: Buffer | undefined): Frame {
  if (bytes === undefined) throw new Error('no session');
  const body = bytes.subarray(HEADER_BYTES, -16);
  return { type: FrameType.MESSAGE, header: bytes.subarray(0, HEADER_BYTES), body, tag: bytes.subarray(-16) };
}

void t.test('a wrong secret is known to both sides and says nothing more', async (t) => {
  const { client, server, clientError, serverError, flights } = run(
    { ...options, secret: Buffer.from('another one') },
    options,
  );
  t.notOk(client ?? server);
  t.equal(clientError?.code, 'RDMA_ERR_UNAUTHENTICATED');
  t.equal(serverError?.code, 'RDMA_ERR_UNAUTHENTICATED');
  t.equal(flights.at(-1)?.subarray(HEADER_BYTES).toString('latin1'), '\x0funauthenticated\0');
});

void t.test('a secret with a zero more is another secret, to both sides', async (t) => {
  const longer = Buffer.concat([SECRET, Buffer.alloc(1)]);
  for (const [one, other] of [
    [SECRET, longer],
    [longer, SECRET],
  ] as const) {
    const { client, server, clientError, serverError } = run(
      { ...options, secret: one },
      { ...options, secret: other },
    );
    t.notOk(client ?? server);
    t.equal(clientError?.code, 'RDMA_ERR_UNAUTHENTICATED');
    t.equal(serverError?.code, 'RDMA_ERR_UNAUTHENTICATED');
  }
});

void t.test('a bit flipped in any byte of any flight keeps both sides from completing a session over it', async (t) => {
  const lengths = run(options, options).flights.map((flight) => flight.byteLength);
  t.equal(lengths.length, 4);
  let tried = 0;
  for (const [flight, length] of lengths.entries()) {
    for (let at = 0; at < length; at += 1) {
      for (let bit = 0; bit < 8; bit += 1) {
        const outcome = run(options, options, (n, bytes) => {
          if (n === flight) bytes[at] = (bytes[at] ?? 0) ^ (1 << bit);
          return bytes;
        });
        tried += 1;
        // The last flight is the server's own: it has verified the client already, and the client must refuse.
        const fooled = outcome.client !== undefined || (flight < 3 && outcome.server !== undefined);
        if (fooled) t.fail(`flight ${flight}, byte ${at}, bit ${bit}`);
      }
    }
  }
  t.ok(tried > 1500, `${tried} flips`);
});

void t.test('a server without the secret gets no further than the proof', async (t) => {
  const client = new ClientHandshake(options);
  const challenge = encodePlainFrame(FrameType.CHALLENGE, encodeChallenge({ version: 2, nonce: randomBytes(32) }));
  const { send: proof } = client.onFrame(frameOf(challenge) as Frame);
  t.ok(proof);
  const reflected = Buffer.concat([Buffer.of(0), (proof as Buffer).subarray(HEADER_BYTES)]);
  const accept = encodePlainFrame(FrameType.ACCEPT, reflected);
  t.throws(
    () => client.onFrame(frameOf(accept) as Frame),
    { code: 'RDMA_ERR_UNAUTHENTICATED' },
    'its own proof, reflected',
  );
  t.throws(() => client.onFrame(frameOf(accept) as Frame), { code: 'RDMA_ERR_PROTOCOL' }, 'and it is of no more use');
});

void t.test('a server that sends the nonce back is refused', async (t) => {
  const client = new ClientHandshake(options);
  const nonce = client.hello.subarray(HEADER_BYTES + 4, HEADER_BYTES + 36);
  const challenge = encodePlainFrame(FrameType.CHALLENGE, encodeChallenge({ version: 2, nonce }));
  t.throws(() => client.onFrame(frameOf(challenge) as Frame), { code: 'RDMA_ERR_UNAUTHENTICATED' });
});

void t.test('a recorded handshake replayed to either side fails', async (t) => {
  const { flights } = run(options, options);
  const server = new ServerHandshake(options);
  server.onFrame(frameOf(flights[0] as Buffer) as Frame);
  t.throws(() => server.onFrame(frameOf(flights[2] as Buffer) as Frame), { code: 'RDMA_ERR_UNAUTHENTICATED' });
  const client = new ClientHandshake(options);
  client.onFrame(frameOf(flights[1] as Buffer) as Frame);
  t.throws(() => client.onFrame(frameOf(flights[3] as Buffer) as Frame), { code: 'RDMA_ERR_UNAUTHENTICATED' });
});

void t.test('versions are negotiated, and a mismatch names both', async (t) => {
  const speaks = (min: number, max: number): HandshakeOptions => ({ ...options, versions: { min, max } });
  t.equal(run(speaks(1, 3), speaks(2, 9)).client?.version, 3, 'the highest common one');
  for (const [client, server] of [
    [speaks(1, 2), speaks(3, 4)],
    [speaks(3, 4), speaks(1, 2)],
  ] as const) {
    const { clientError, serverError } = run(client, server);
    t.equal(clientError?.code, 'RDMA_ERR_VERSION');
    t.equal(serverError?.code, 'RDMA_ERR_VERSION');
    for (const error of [clientError, serverError]) t.match(error?.message, /1 to 2.*3 to 4|3 to 4.*1 to 2/);
  }
  const challenge = encodePlainFrame(FrameType.CHALLENGE, encodeChallenge({ version: 7, nonce: randomBytes(32) }));
  t.throws(() => new ClientHandshake(options).onFrame(frameOf(challenge) as Frame), { code: 'RDMA_ERR_VERSION' });
});

void t.test('only those who know the secret learn that the service is another one, or the server full', async (t) => {
  const other = { ...options, service: 'other' };
  t.match(run(other, options), {
    clientError: { code: 'RDMA_ERR_REFUSED' },
    serverError: { code: 'RDMA_ERR_REFUSED' },
  });
  t.equal(run({ ...other, secret: Buffer.from('another one') }, options).serverError?.code, 'RDMA_ERR_UNAUTHENTICATED');
  const client = new ClientHandshake(options);
  const server = new ServerHandshake(options);
  const challenge = server.onFrame(frameOf(client.hello) as Frame).send as Buffer;
  const proof = client.onFrame(frameOf(challenge) as Frame).send as Buffer;
  const full = new RdmaError('RDMA_ERR_BUSY', 'full');
  t.throws(() => server.onFrame(frameOf(proof) as Frame, () => full), full);
  const refusal = frameOf(server.refusal(full) as Buffer) as Frame;
  t.throws(() => client.onFrame(refusal), { code: 'RDMA_ERR_BUSY' });
});

void t.test('messages that are malformed, or come out of turn, are refused', async (t) => {
  const hello = { versions: { min: 2, max: 2 }, nonce: randomBytes(32), service: 's', name: 'n' };
  const good = encodeHello(hello);
  const bad: [string, Buffer][] = [
    ['empty', Buffer.alloc(0)],
    ['cut short', good.subarray(0, -1)],
    ['too long', Buffer.concat([good, Buffer.of(0)])],
    ['backwards versions', encodeHello({ ...hello, versions: { min: 3, max: 2 } })],
    ['not UTF-8', Buffer.concat([good.subarray(0, -1), Buffer.of(0xff)])],
    ['control character', encodeHello({ ...hello, name: 'a\nb' })],
  ];
  for (const [name, body] of bad) {
    const frame = frameOf(encodePlainFrame(FrameType.HELLO, body)) as Frame;
    t.throws(() => new ServerHandshake(options).onFrame(frame), { code: 'RDMA_ERR_PROTOCOL' }, name);
  }
  for (const type of Object.values(FrameType)) {
    const frame = frameOf(encodePlainFrame(type, Buffer.alloc(32))) as Frame;
    t.throws(
      () => new ServerHandshake(options).onFrame(frame),
      { code: 'RDMA_ERR_PROTOCOL' },
      `type ${type} to a server`,
    );
    t.throws(() => new ClientHandshake(options).onFrame(frame), { name: 'RdmaError' }, `type ${type} to a client`);
  }
  const tagged: Frame = { type: FrameType.HELLO, header: Buffer.alloc(12), body: good, tag: Buffer.alloc(16) };
  t.throws(() => new ServerHandshake(options).onFrame(tagged), { code: 'RDMA_ERR_PROTOCOL' });
});
