// A cluster on a pair of guests: nats-server and the gateway on a, a node on each.
// Invariant: it starts what people would start by the same words, and knows what the cluster says of itself; what shall
// be the case is for whoever uses it.

import { fileURLToPath } from 'node:url';

import { Failure } from './failure.mjs';
import { ADDRESSES } from './pair.mjs';

/** Of a program on an emulated processor; a node begins within ten seconds on a quiet machine. */
export const START_LIMIT_S = 300;
export const LEASE_MS = 30_000;

/** For processors that are emulated. */
const LIMITS = ['--start-timeout-ms', `${START_LIMIT_S * 1000}`, '--control-timeout-ms', `${LEASE_MS / 3}`];
const MAIN = 'lib/cli/main.js';
const CONTROL = `nats://${ADDRESSES.a}:4222`;
const PORT = 8080;
const URL_ON_A = `http://127.0.0.1:${PORT}`;
const script = (name) => fileURLToPath(new URL(name, import.meta.url));
const onepiece = (...words) => [process.execPath, MAIN, ...words];

/** @typedef {{ nodes: string[], places: { place: string, node: string, state: string, reason: string | null,
 *   vias: Record<string, { device: string, why: string }> }[], unplaced: string[] }} Seen */

export class PairCluster {
  #guests;
  #files;
  #watch;

  /**
   * @param {{ a: import('./pair-guest.mjs').PairGuest, b: import('./pair-guest.mjs').PairGuest }} guests
   * @param {import('./cluster-files.mjs').ClusterFiles} files
   */
  constructor({ a, b }, files) {
    this.#guests = { a, b };
    this.#files = files;
  }

  async startControl() {
    // Everything waits for it while ten processes start on one emulated processor.
    const words = [
      'nice',
      '-n',
      '-10',
      'nats-server',
      '--jetstream',
      '--store_dir',
      '/tmp/nats',
      '--addr',
      ADDRESSES.a,
      '--port',
      '4222',
    ];
    await this.#guests.a.start('nats-server', words).line(/Server is ready/, START_LIMIT_S);
  }

  #common(name) {
    const { secret, tls } = this.#files;
    return ['--control', CONTROL, '--secret-file', secret, '--tls-dir', tls(name)];
  }

  /** Starts the node of a guest. @param {'a' | 'b'} name */
  async startNode(name) {
    const words = ['--name', name, '--address', ADDRESSES[name], '--lease-ms', `${LEASE_MS}`, '--json'];
    const node = this.#guests[name].start('node', onepiece('node', ...this.#common(name), ...words, ...LIMITS));
    await node.line(/"event":"joined"/, START_LIMIT_S, 'it joined');
    return node;
  }

  async deploy() {
    await this.#guests.b.run('deploy', onepiece('deploy', 'demo', '--control', CONTROL, '--no-wait'), START_LIMIT_S);
  }

  /** Starts the gateway, which begins when every place works. */
  async startGateway() {
    const words = ['--address', ADDRESSES.a, '--port', `${PORT}`, '--memory', '--log-level', 'warn', '--json'];
    const limits = [...LIMITS, '--gateway-lease-ms', `${LEASE_MS}`];
    const { a } = this.#guests;
    const gateway = a.start('serve', onepiece('serve', 'demo', ...this.#common('gateway'), ...words, ...limits));
    await gateway.line(/"url":/, START_LIMIT_S, 'it listened');
    this.#watch = a.start('plan-watch', [process.execPath, script('plan-watch.mjs'), URL_ON_A]);
  }

  /** What the cluster says of itself now. @returns {Seen | undefined} undefined: nothing yet */
  seen() {
    const last = this.#watch.lines.findLast(({ stream }) => stream === 'stdout');
    return last === undefined ? undefined : JSON.parse(last.text);
  }

  /**
   * Waits until the cluster is as it shall be.
   * @param {string} what for the failure @param {number} limitS @param {(seen: Seen) => boolean} isSo
   * @returns {Promise<Seen>}
   */
  async until(what, limitS, isSo) {
    try {
      return await this.#watch.until(what, limitS, () => {
        const seen = this.seen();
        return seen !== undefined && isSo(seen) ? seen : undefined;
      });
    } catch (error) {
      const seen = this.seen();
      const places = seen?.places.map(({ place, node, state, reason }) =>
        [place, `on ${node}`, state, reason].filter(Boolean).join(' '),
      );
      const words = [`nodes ${seen?.nodes.join(', ')}`, ...(places ?? []), ...(seen?.unplaced ?? [])].join('; ');
      throw new Failure(1, `${error.message}; the cluster is: ${words}`);
    }
  }

  /** Asks for a clip. @param {string} picture @param {object} order */
  clip(picture, order) {
    const words = [script('clip-client.mjs'), URL_ON_A, picture, JSON.stringify(order), this.#files.clip];
    return new ClipRequest(this.#guests.a.start('clip', [process.execPath, ...words]));
  }
}

/** A request that is under way. */
class ClipRequest {
  #program;
  #begun = performance.now();

  constructor(program) {
    this.#program = program;
  }

  #told() {
    return this.#program.lines.filter(({ stream }) => stream === 'stdout').map(({ text }) => JSON.parse(text));
  }

  /** Waits until an instance has done a part of its work. @param {string} place such as `diffuse/1` */
  async progress(place, part, limitS) {
    const isIt = ({ type, stage, instance, done }) =>
      type === 'progress' && `${stage}/${instance}` === place && done >= part;
    return this.#program.until(`${place} had done ${part}`, limitS, () => this.#told().find(isIt));
  }

  /** Whether an instance has told that its work is done. */
  hasDone(place) {
    return this.#told().some(({ type, stage, instance }) => type === 'task-done' && `${stage}/${instance}` === place);
  }

  /** Its end. @returns {Promise<{ bytes: number, sha256: string, isSame: boolean, seconds: number }>} */
  async result(limitS) {
    await this.#program.output(limitS);
    const seconds = (performance.now() - this.#begun) / 1000;
    return { ...this.#told().at(-1), seconds };
  }
}
