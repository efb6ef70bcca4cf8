// Whether two guests reach each other by RDMA at all, before anything of a cluster runs on them.
// Invariant: each program speaks with one on the other guest, over rxe0 of both; the data is compared.

import { ADDRESSES } from './pair.mjs';

const LIMIT_S = 300;
const onepiece = (...words) => [process.execPath, 'lib/cli/main.js', ...words];

/** @param {{ a: import('./pair-guest.mjs').PairGuest, b: import('./pair-guest.mjs').PairGuest }} pair */
export async function checkNetwork({ a, b }, say) {
  const rping = b.start('rping -s', ['rping', '-s', '-a', ADDRESSES.b, '-C', '10', '-v', '-V', '-P']);
  // It says nothing when it listens, and a client that comes before is refused.
  await a.run('rping -c', retrying(['rping', '-c', '-a', ADDRESSES.b, '-C', '10', '-V']), LIMIT_S);
  say('rping of rdma-core on both: 10 pings');
  const words = await a.run('onepiece rping', onepiece('rping', '-c', '-a', ADDRESSES.b, '-C', '10', '-V'), LIMIT_S);
  say(`onepiece rping with rping -s: ${words}`);
  rping.signal('SIGKILL');
  await rping.ended(LIMIT_S);

  const port = '18515';
  const server = a.start('onepiece pingpong', onepiece('pingpong', '-d', 'rxe0', '-p', port, '-n', '200', '-c'));
  await server.line(/./, LIMIT_S);
  const client = onepiece('pingpong', '-d', 'rxe0', '-p', port, '-n', '200', '-c', ADDRESSES.a);
  const [last] = (await b.run('onepiece pingpong', client, LIMIT_S)).split('\n').slice(-1);
  await server.output(LIMIT_S);
  say(`onepiece pingpong on both: ${last}`);
}

/** Ten times in a second each, until the server is there. */
function retrying(argv) {
  return ['sh', '-c', 'i=0; until "$@"; do i=$((i + 1)); [ $i -lt 10 ] || exit 1; sleep 0.5; done', 'sh', ...argv];
}
