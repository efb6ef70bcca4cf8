// A cluster on two guests: the demo, with its stages on both, and one of them lost half-way.
// Invariant: each clip is compared byte by byte, by its SHA-256, with the one that one host makes; a loss comes while a
// stage on the lost guest is at its work, and the job begins that work again elsewhere.

import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';

import { Failure } from './failure.mjs';
import { ADDRESSES } from './pair.mjs';
import { isWorking, placesOn, waysOf } from './pair-ways.mjs';

const CLI = 'lib/cli/main.js';
const PICTURE = 'photo.jpg';
const ORDER = { prompt: 'slow push in, evening light', frames: 8, steps: 30, size: 96, seed: 7 };
const CONTROL = `nats://${ADDRESSES.a}:4222`;
const URL = 'http://127.0.0.1:8080';
/** JavaScript is slow in a guest, and slower where other work runs beside it. */
const LIMIT_S = 240;
/** So much of its work a stage has done when it is lost. */
const HALF_WAY = 0.4;
/** Longer than a guest stands still on a busy machine. */
const LEASE_MS = '10000';

const onepiece = (...words) => [process.execPath, CLI, ...words];
const run = promisify(execFile);

function must(isTrue, words) {
  if (!isTrue) throw new Failure(1, words);
}

/** What the cluster needs from this machine: its certificates, and the clip to compare with. */
export async function prepareCluster(root, stop) {
  const folder = await mkdtemp(path.join(os.tmpdir(), 'onepiece-pair-'));
  try {
    const command = (...words) => run(process.execPath, [path.join(root, CLI), ...words], { cwd: root, signal: stop });
    const certificates = path.join(folder, 'cluster');
    await command('cluster', 'init', '--dir', certificates, ...['a', 'b', 'gateway'].flatMap((name) => ['--node', name]));
    const clip = path.join(folder, 'clip.webp');
    const order = Object.entries(ORDER).flatMap(([name, value]) => [`--${name}`, String(value)]);
    await command('demo', PICTURE, '--output', clip, ...order);
    const bytes = await readFile(clip);
    const sha256 = createHash('sha256').update(bytes).digest('hex');
    return { folder, certificates, sha256, bytes: bytes.length };
  } catch (error) {
    await rm(folder, { recursive: true, force: true });
    throw error;
  }
}

class Cluster {
  constructor({ a, b }, prepared, say) {
    Object.assign(this, { a, b, prepared, say });
  }

  #member(name) {
    const { certificates } = this.prepared;
    return ['--secret-file', path.join(certificates, 'secret'), '--tls-dir', path.join(certificates, 'nodes', name)];
  }

  async startNode(guest) {
    const { name } = guest;
    const words = ['node', '--control', CONTROL, '--name', name, '--address', ADDRESSES[name], '--lease-ms', LEASE_MS];
    const node = guest.start(`onepiece node ${name}`, onepiece(...words, '--json', ...this.#member(name)));
    const { devices } = await node.until('it had joined', LIMIT_S, () => documents(node).find((each) => each.event === 'joined'));
    this.say(`node ${name} has joined with ${devices.join(', ')}`);
    return node;
  }

  async start() {
    const { a, b, say } = this;
    const nats = a.start('nats-server', ['nats-server', '-js', '-sd', '/tmp/nats', '-a', ADDRESSES.a]);
    await nats.line(/Server is ready/, LIMIT_S);
    say('nats-server is ready');
    const [, node] = await Promise.all([this.startNode(a), this.startNode(b)]);
    this.node = node;
    await a.run('onepiece deploy', onepiece('deploy', 'demo', '--control', CONTROL), LIMIT_S);
    this.status = a.start('status', [process.execPath, 'scripts/rxe/pair-status.mjs', CONTROL]);
    const words = ['serve', 'demo', '--control', CONTROL, '--address', ADDRESSES.a, '--memory', '--json'];
    const gateway = a.start('onepiece serve', onepiece(...words, '--log-level', 'warn', ...this.#member('gateway')));
    await gateway.until('it listened', LIMIT_S, () => documents(gateway).find((each) => each.url !== undefined));
    say('the gateway listens');
  }

  /** What the store says, from now on, until it suits. */
  async app(what, suits) {
    const from = this.status.lines.at(-1);
    return this.status.until(what, LIMIT_S, () => {
      const last = this.status.lines.at(-1);
      if (last === from || last.stream !== 'stdout') return undefined;
      const app = JSON.parse(last.text).apps?.[0];
      return app !== undefined && suits(app) ? app : undefined;
    });
  }

  /** All places work, some on each guest, and ways lead to and fro. */
  async spread() {
    const isSpread = (app) => isWorking(app) && ['a', 'b'].every((node) => placesOn(app, node).length > 0);
    const isJoined = (app) => ['a', 'b'].every((node) => waysOf(app).between.some((words) => words.includes(` on ${node} > `)));
    const app = await this.app('its places worked on both guests, with ways between them', (each) => isSpread(each) && isJoined(each));
    const { wrong, between } = waysOf(app);
    must(wrong.length === 0, `ways by the wrong device: ${wrong.join('; ')}`);
    for (const node of ['a', 'b']) this.say(`on ${node}: ${placesOn(app, node).join(', ')}`);
    for (const words of between) this.say(words);
    return app;
  }

  submit() {
    const words = ['scripts/rxe/pair-client.mjs', URL, PICTURE, JSON.stringify(ORDER)];
    return this.a.start('client', [process.execPath, ...words]);
  }

  async clip(client) {
    const lines = (await client.output(LIMIT_S)).split('\n').map((line) => JSON.parse(line));
    const { at, sha256, bytes } = lines.at(-1);
    must(at === 'clip' && sha256 === this.prepared.sha256, `the clip is another one: ${sha256}, ${bytes} bytes`);
    return lines;
  }

  /** A job, of which guest b is lost half-way. @param {() => Promise<void>} lose */
  async lose(what, lose) {
    const lost = new Set(placesOn(await this.spread(), 'b').filter((place) => place.startsWith('diffuse/')));
    const client = this.submit();
    const isHalfWay = ({ at, stage, instance, done }) => at === 'progress' && lost.has(`${stage}/${instance}`) && done >= HALF_WAY;
    const { stage, instance, done } = await client.until('a stage on b was half-way', LIMIT_S, () => documents(client).find(isHalfWay));
    await lose();
    const before = client.lines.length;
    this.say(`${what}, when ${stage}/${instance} had done ${Math.round(done * 100)} % of its work`);
    const lines = await this.clip(client);
    const again = lines.slice(before).some((each) => each.at === 'task' && each.stage === stage);
    must(again, `${stage} did not begin its work again after ${what}`);
    this.say(`its clip is the same; ${stage} began its work again`);
    await this.app('its places worked on a alone', (app) => isWorking(app) && placesOn(app, 'b').length === 0);
  }
}

const documents = (program) =>
  program.lines.flatMap(({ stream, text }) => (stream === 'stdout' && text.startsWith('{') ? [JSON.parse(text)] : []));

/** @param {{ a: object, b: object }} pair @param {Awaited<ReturnType<typeof prepareCluster>>} prepared */
export async function checkCluster(pair, prepared, say) {
  const cluster = new Cluster(pair, prepared, say);
  await cluster.start();
  const client = cluster.submit();
  await cluster.clip(client);
  say(`the clip is that of one host: ${prepared.bytes} bytes, SHA-256 ${prepared.sha256}`);
  await cluster.lose('node b was killed', async () => {
    cluster.node.signal('SIGKILL');
    await cluster.node.ended(LIMIT_S);
  });
  cluster.node = await cluster.startNode(pair.b);
  await cluster.lose('the power of guest b was cut', () => pair.b.cutPower());
}
