// Proves: any bytes in any pieces give exactly the addresses that were sent, or one RDMA_ERR_PROTOCOL; and a peer that
// is silent, hangs up or speaks something else ends the exchange with a typed error.
import { once } from 'node:events';
import net from 'node:net';
import fc from 'fast-check';
import t from 'tap';
import {
  decodePingPong,
  encodePingPong,
  NO_GID,
  PINGPONG_DONE,
  PingPongParser,
} from '../../../src/ts/interop/pingpong/bootstrap.js';
import { askPingPong, servePingPong } from '../../../src/ts/interop/pingpong/peer.js';
import { isRdmaError } from '../../../src/ts/core/errors.js';
import { rawServer } from '../../connect/support.js';

const example = { lid: 0x12, qpNum: 0x11, psn: 0xabcdef, gid: '00000000000000000000ffff0a630001' };
const address = fc.record({
  lid: fc.nat(0xffff),
  qpNum: fc.nat(0xffffff),
  psn: fc.nat(0xffffff),
  gid: fc.uint8Array({ minLength: 16, maxLength: 16 }).map((bytes) => Buffer.from(bytes).toString('hex')),
});

void t.test('an address is written as the C programs write it', async (t) => {
  const text = '0012:000011:abcdef:00000000000000000000ffff0a630001\0';
  t.equal(encodePingPong([example], 1).toString('latin1'), text);
  t.strictSame(decodePingPong(Buffer.from(text)), example);
  const many = encodePingPong([example], 256);
  t.equal(many.byteLength, 256 * 52);
  t.strictSame(decodePingPong(many.subarray(52, 104)), { lid: 0, qpNum: 0, psn: 0, gid: NO_GID });
  t.throws(() => encodePingPong([{ ...example, qpNum: 2 ** 24 }], 1), { code: 'RDMA_ERR_INVALID_ARGUMENT' });
});

void t.test('addresses survive any cutting', async () => {
  fc.assert(
    fc.property(fc.array(address, { minLength: 1, maxLength: 5 }), fc.array(fc.nat(300)), (all, cuts) => {
      const stream = Buffer.concat([encodePingPong(all, all.length), PINGPONG_DONE]);
      const bounds = [0, ...cuts.map((cut) => cut % stream.length), stream.length].sort((a, b) => a - b);
      const parser = new PingPongParser(all.length, true);
      for (let i = 1; i < bounds.length; i++) parser.push(stream.subarray(bounds[i - 1], bounds[i]));
      return parser.finished && JSON.stringify(parser.addresses) === JSON.stringify(all);
    }),
  );
});

void t.test('garbage gives RDMA_ERR_PROTOCOL and nothing else', async () => {
  const good = encodePingPong([example], 1);
  const garbage = fc.oneof(
    fc.uint8Array({ minLength: 52, maxLength: 300 }),
    fc.tuple(fc.nat(51), fc.nat(255)).map(([at, value]) => {
      const bytes = Buffer.concat([good, PINGPONG_DONE, Buffer.from('x')]);
      bytes[at] = value;
      return bytes;
    }),
  );
  fc.assert(
    fc.property(garbage, (bytes) => {
      try {
        new PingPongParser(1, true).push(bytes);
        return false; // each of them is too long at least
      } catch (error) {
        return isRdmaError(error) && error.code === 'RDMA_ERR_PROTOCOL';
      }
    }),
  );
});

const common = { local: [example], count: 1, timeoutMs: 300 };

void t.test('a client meets a silent, a rude and a foreign server', async (t) => {
  const play = async (onConnection: (socket: net.Socket) => void) => {
    const server = await rawServer(onConnection);
    try {
      return await askPingPong({ host: '127.0.0.1', port: server.port }, common);
    } finally {
      await server.close();
    }
  };
  await t.rejects(
    play(() => undefined),
    { code: 'RDMA_ERR_TIMEOUT' },
  );
  await t.rejects(
    play((socket) => socket.end()),
    { code: 'RDMA_ERR_PEER_GONE' },
  );
  await t.rejects(
    play((socket) => socket.write('HTTP/1.1 400 Bad Request\r\n'.repeat(9))),
    {
      code: 'RDMA_ERR_PROTOCOL',
    },
  );
});

void t.test('a server meets a silent, a rude and a foreign client, or none', async (t) => {
  const play = async (onConnect?: (socket: net.Socket) => void) => {
    let socket: net.Socket | undefined;
    try {
      return await servePingPong({
        ...common,
        port: 0,
        acceptTimeoutMs: 300,
        connect: () => undefined,
        onListening: (port) => {
          if (onConnect === undefined) return;
          socket = net.connect(port, '127.0.0.1');
          socket.on('error', () => undefined);
          void once(socket, 'connect').then(() => onConnect(socket!));
        },
      });
    } finally {
      socket?.destroy();
    }
  };
  await t.rejects(play(), { code: 'RDMA_ERR_TIMEOUT' });
  await t.rejects(
    play(() => undefined),
    { code: 'RDMA_ERR_TIMEOUT' },
  );
  await t.rejects(
    play((socket) => socket.end(encodePingPong([example], 1))),
    { code: 'RDMA_ERR_PEER_GONE' },
  );
  await t.rejects(
    play((socket) => socket.write('GET / HTTP/1.1\r\n'.repeat(9))),
    { code: 'RDMA_ERR_PROTOCOL' },
  );
  t.strictSame(
    await play((socket) => {
      socket.write(encodePingPong([example], 1));
      socket.on('data', () => socket.end(PINGPONG_DONE));
    }),
    [example],
  );
});
