// A process that knows no secret, and keeps connections open at a port, as many as it can. Its argument says how.
import net from 'node:net';
import { encodePlainFrame, FrameType } from '../../src/ts/connect/frame.js';
import { encodeHello } from '../../src/ts/connect/handshake-messages.js';

/** How a stranger behaves: it says nothing; says hello and stops; says what is no hello; or leaves again at once. */
export type Manner = 'idle' | 'hello' | 'garbage' | 'leaving';

export interface StrangersConfig {
  host: string;
  port: number;
  manner: Manner;
  /** Connections that it keeps open. */
  count: number;
  /** It opens so many at most in each round of 10 ms. */
  perRound: number;
}

const config = JSON.parse(process.argv[2] ?? '') as StrangersConfig;
const { host, port, manner, count, perRound } = config;
const ROUND_MS = 10;
const open = new Set<net.Socket>();
let opened = 0;

const hello = () =>
  encodePlainFrame(
    FrameType.HELLO,
    encodeHello({
      versions: { min: 1, max: 9 },
      nonce: Buffer.alloc(32, opened),
      service: 'onepiece-inbox',
      name: 'x',
    }),
  );

function visit(): void {
  opened++;
  const socket = net.connect(port, host);
  open.add(socket);
  socket.on('error', () => undefined);
  socket.on('close', () => open.delete(socket));
  socket.on('data', () => undefined);
  socket.on('connect', () => {
    if (manner === 'hello') socket.write(hello());
    else if (manner === 'garbage') socket.write('GET / HTTP/1.1\r\n\r\n');
    else if (manner === 'leaving') socket.destroy();
  });
}

setInterval(() => {
  for (let i = 0; i < perRound && open.size < count; i++) visit();
  process.send?.({ open: open.size, opened });
}, ROUND_MS);
process.on('disconnect', () => process.exit(0));
