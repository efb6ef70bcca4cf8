// What live listeners cost the process of the gateway: CPU with 1 000 of them and 100 requests a second.
//
// Invariant: the listeners and the stages are other processes, so the figures are the gateway's own; each listener
// proves that it got whole snapshots. Needs a build, Fastify and prom-client, which a checkout has.
//
//   node bench/sse-listeners.mjs [--listeners 1000] [--rate 100] [--seconds 20] [--json]
import { fork } from 'node:child_process';
import net from 'node:net';
import { parseArgs } from 'node:util';
import { fileURLToPath } from 'node:url';
import Fastify from 'fastify';
import { LocalPipeline, stageProcess } from '../lib/cluster/index.mjs';
import { Observer, observePlugin } from '../lib/observe/index.mjs';
import { workflow } from '../lib/pipeline/index.mjs';

const self = fileURLToPath(import.meta.url);
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** Three stages that work for some milliseconds without needing the processor. */
export const steps = workflow('steps', { module: self })
  .stage('read', { handler: () => sleep(5).then(() => ({})) })
  .stage('think', { after: ['read'], instances: 2, concurrency: 2, handler: () => sleep(20).then(() => ({})) })
  .stage('write', { after: ['think'], handler: () => sleep(5).then(() => ({})) });

/** Opens so many connections, reads what comes, and tells how many whole snapshots each one got at least. */
async function listen(port, count) {
  const seen = new Array(count).fill(0);
  let bytes = 0;
  for (let i = 0; i < count; i++) {
    const socket = net.connect(port, '127.0.0.1');
    socket.write('GET /v1/status/events HTTP/1.1\r\nhost: localhost\r\n\r\n');
    let last = 0;
    socket.on('data', (data) => {
      bytes += data.length;
      // An event ends with an empty line; JSON has none in it.
      let at = data.indexOf('\n\n');
      if (last === 10 && data[0] === 10) seen[i]++;
      for (; at >= 0; at = data.indexOf('\n\n', at + 2)) seen[i]++;
      last = data[data.length - 1];
    });
    socket.on('error', () => process.send({ lost: true }));
    if (i % 50 === 49) await sleep(20);
  }
  process.send({ connected: true });
  process.on('message', () => {
    process.send({ least: Math.min(...seen), most: Math.max(...seen), bytes });
    seen.fill(0);
    bytes = 0;
  });
}

const answer = (child) => new Promise((resolve) => child.once('message', resolve));

async function measure({ listeners, rate, seconds, json }) {
  const pipeline = await LocalPipeline.start(steps);
  const observer = Observer.attach(pipeline);
  const app = Fastify();
  await app.register(observePlugin(observer, { maxListeners: listeners + 10 }));
  await app.listen({ port: 0, host: '127.0.0.1' });
  let [begun, done, failed] = [0, 0, 0];
  const origin = performance.now();
  // As many as are due: a timer that comes late on a busy machine does not lower the rate.
  const load = setInterval(() => {
    for (; begun < ((performance.now() - origin) * rate) / 1000; begun++) {
      pipeline.run({}).then(
        () => done++,
        () => failed++,
      );
    }
  }, 10);
  const shareOf = async () => {
    const [cpu, since, before] = [process.cpuUsage(), performance.now(), done];
    await sleep(seconds * 1000);
    const { user, system } = process.cpuUsage(cpu);
    const ms = performance.now() - since;
    return { cores: (user + system) / 1000 / ms, requestsPerSecond: ((done - before) * 1000) / ms };
  };
  await sleep(1000);
  const alone = await shareOf();
  const child = fork(self, ['--listen', String(app.server.address().port), '--listeners', String(listeners)]);
  await answer(child);
  await sleep(2000); // the first snapshots of all
  const reset = answer(child);
  child.send('reset');
  await reset;
  const watched = await shareOf();
  const told = answer(child);
  child.send('tell');
  const { least, most, bytes } = await told;
  child.kill();
  clearInterval(load);
  while (done + failed < begun) await sleep(10);
  await app.close();
  observer.close();
  await pipeline.close();
  const result = {
    schemaVersion: 1,
    test: 'sse-listeners',
    listeners,
    seconds,
    coresWithoutListeners: alone.cores,
    coresWithListeners: watched.cores,
    requestsPerSecond: watched.requestsPerSecond,
    failed,
    snapshotsLeast: least,
    snapshotsMost: most,
    megabytesPerSecond: bytes / 1e6 / seconds,
  };
  if (json) console.log(JSON.stringify(result, null, 2));
  else {
    console.log(
      `without listeners: ${alone.cores.toFixed(3)} cores at ${alone.requestsPerSecond.toFixed(0)} requests/s`,
    );
    console.log(
      `${listeners} listeners: ${watched.cores.toFixed(3)} cores at ${watched.requestsPerSecond.toFixed(0)} requests/s`,
    );
    console.log(
      `snapshots in ${seconds} s: ${least} to ${most} each, ${result.megabytesPerSecond.toFixed(1)} MB/s, ${failed} requests failed`,
    );
  }
  if (failed > 0 || least < seconds / 2) process.exitCode = 1;
}

if (stageProcess() === undefined && process.argv[1] === self) {
  const { values } = parseArgs({
    options: {
      listeners: { type: 'string', default: '1000' },
      rate: { type: 'string', default: '100' },
      seconds: { type: 'string', default: '20' },
      listen: { type: 'string' },
      json: { type: 'boolean', default: false },
    },
  });
  const [listeners, rate, seconds] = [values.listeners, values.rate, values.seconds].map(Number);
  if (values.listen !== undefined) await listen(Number(values.listen), listeners);
  else await measure({ listeners, rate, seconds, json: values.json });
}
