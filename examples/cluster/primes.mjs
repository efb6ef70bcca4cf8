// The workflow that cluster.mjs deploys: counts the primes below a number, slowly.
//
// The nodes import this file at this path, so on several machines it must be the same file at the same path.
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { workflow } from 'onepiece-rdma/pipeline';

/** @param {import('onepiece-rdma/pipeline').StageTask} task */
async function count(task) {
  const below = Number(task.input('request').meta.below);
  let primes = 0;
  for (let n = 2; n < below; n++) {
    let isPrime = true;
    for (let d = 2; d * d <= n && isPrime; d++) isPrime = n % d !== 0;
    if (isPrime) primes++;
  }
  await sleep(200, undefined, { signal: task.signal }); // as if it were a model: requests are under way for a while
  return { meta: { below, primes } };
}

// Two instances: the controller spreads them over the nodes that have room.
export const primes = workflow('primes', { module: fileURLToPath(import.meta.url) }).stage('count', {
  instances: 2,
  handler: count,
});
