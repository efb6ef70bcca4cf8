// Invariant under test: a system's error keeps its code, errno and syscall, and gains an address and a remedy.

import t from 'tap';
import { connectError, listenError, peerGone } from '../../src/ts/connect/socket-error.js';

const address = { host: 'example.test', port: 4711 };

function systemError(code: string, errno: number, syscall: string): NodeJS.ErrnoException {
  return Object.assign(new Error(`${syscall} ${code}`), { code, errno, syscall });
}

void t.test('the system speaks, with its own code, and the remedy follows', async (t) => {
  const refused = systemError('ECONNREFUSED', -111, 'connect');
  t.match(connectError(refused, address), {
    code: 'ECONNREFUSED',
    errno: -111,
    syscall: 'connect',
    cause: refused,
    message: 'ECONNREFUSED: connection refused: example.test:4711, connect (start the server first',
  });
  t.match(listenError(systemError('EACCES', -13, 'listen'), address), { code: 'EACCES', remedy: /1024 or above/ });
  t.match(connectError(systemError('ENOTFOUND', -3008, 'getaddrinfo'), address), {
    code: 'ENOTFOUND',
    syscall: 'getaddrinfo',
    remedy: /spelling/,
    message: /example\.test:4711/,
  });
  t.match(connectError(systemError('EAI_AGAIN', -3001, 'getaddrinfo'), address), { code: 'EAI_AGAIN', remedy: /DNS/ });
});

void t.test(
  'of several failed addresses the first is reported, and so is an error that is no system error',
  async (t) => {
    const several = new AggregateError([
      systemError('ECONNREFUSED', -111, 'connect'),
      systemError('EHOSTUNREACH', -113, 'connect'),
    ]);
    t.match(connectError(several, address), { code: 'ECONNREFUSED', errno: -111, cause: several });
    t.match(connectError(new Error('odd'), address), { code: 'UNKNOWN', message: /odd/, syscall: 'connect' });
    t.match(connectError(undefined, address), { code: 'UNKNOWN' });
  },
);

void t.test('a gone peer is one code, with the cause inside', async (t) => {
  const reset = systemError('ECONNRESET', -104, 'read');
  t.match(peerGone(reset), { code: 'RDMA_ERR_PEER_GONE', errno: -104, syscall: 'read', cause: reset });
  t.match(peerGone(), { code: 'RDMA_ERR_PEER_GONE', cause: undefined });
});
