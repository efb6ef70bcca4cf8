// Whether a clip comes out of a cluster on two kernels as it does out of one process tree, also when a node is lost
// while it works on it.
// Invariant: every clip is compared byte for byte with that of `onepiece demo` on this machine; a node is lost only
// while its stage is at work, and the takeover and the clip must then come in time.

import { Failure } from './failure.mjs';
import { withClusterFiles } from './cluster-files.mjs';
import { LEASE_MS, PairCluster } from './pair-cluster.mjs';

const MAIN = 'lib/cli/main.js';
const PICTURE = 'photo.jpg';
// So many steps that the stage is at work for seconds: until a host has heard of its progress, some have gone by.
const ORDER = { prompt: 'slow push in, evening light', frames: 12, steps: 200, size: 128, seed: 3, fps: 12 };
const CLIP_LIMIT_S = 300;
/** So much of its work has the stage done when its node is lost. */
const PART = 0.25;
const STAGE = 'diffuse';
const OWN = { device: 'soft0', why: /^shared memory/ };
const ACROSS = { device: 'rxe0', why: /^RoCE v2 within 10\.99\.0\.0\/24$/ };

const seconds = (sinceMs) => (performance.now() - sinceMs) / 1000;
const inWords = (value) => `${value.toFixed(1)} s`;

/**
 * @param {import('./pair.mjs').Pair} pair
 * @param {{ stop: AbortSignal, say: (text: string) => void, powerCut: boolean }} options `powerCut`: node b comes back,
 *   and its guest loses its power
 */
export async function checkFailover(pair, { stop, say, powerCut }) {
  const nodes = ['a', 'b', 'gateway'];
  await withClusterFiles({ main: MAIN, nodes, picture: PICTURE, order: ORDER, stop, say }, async (files) => {
    const cluster = new PairCluster(pair, files);
    const begunMs = performance.now();
    await cluster.startControl();
    const [, first] = await Promise.all([cluster.startNode('a'), cluster.startNode('b')]);
    say(`two nodes have joined nats-server on a: ${inWords(seconds(begunMs))}`);
    const deployedMs = performance.now();
    await cluster.deploy();
    await cluster.startGateway();
    const startS = seconds(deployedMs);
    say(`the gateway takes requests: ${inWords(startS)}`);

    await placeOn(cluster, 'b', startS);
    const whole = await clipOf(cluster.clip(PICTURE, ORDER), say, 'of two kernels');
    checkWays(cluster.seen(), say);

    const limits = { takeOverS: LEASE_MS / 1000 + startS, clipS: LEASE_MS / 1000 + startS + 2 * whole.seconds };
    await lose(cluster, say, limits, 'kill -9 of node b', async () => {
      first.kill();
      await first.ended(CLIP_LIMIT_S);
    });
    if (!powerCut) return;

    const againMs = performance.now();
    await cluster.startNode('b');
    const place = await placeOn(cluster, 'b', limits.takeOverS);
    say(`node b is back and has ${place}: ${inWords(seconds(againMs))}`);
    await lose(cluster, say, limits, 'power cut of guest b', () => pair.b.cutPower());
  });
}

/** Waits until every place works and an instance of the stage is on that node. @returns {Promise<string>} its name */
async function placeOn(cluster, node, limitS) {
  const isIt = (each) => each.node === node && each.place.startsWith(`${STAGE}/`);
  const seen = await cluster.until(`a ${STAGE} worked on ${node}`, limitS, ({ places, unplaced }) => {
    const isSettled = unplaced.length === 0 && places.every(({ state }) => state === 'ready');
    return isSettled && places.some(isIt) && places.some((each) => each.node !== node);
  });
  return seen.places.find(isIt).place;
}

/** Loses node b while it works on a clip. `how` is over when nothing runs there any more. */
async function lose(cluster, say, { takeOverS, clipS }, words, how) {
  const place = await placeOn(cluster, 'b', takeOverS);
  const request = cluster.clip(PICTURE, ORDER);
  const { done } = await request.progress(place, PART, CLIP_LIMIT_S);
  const lostMs = performance.now();
  await how();
  if (request.hasDone(place)) throw new Failure(1, `${place} had done its work before the ${words}`);
  say(`${words} while ${place} had done ${Math.round(done * 100)} %`);
  const [result] = await Promise.all([
    clipOf(request, say, `after the ${words}`),
    cluster
      .until('every place worked on a', takeOverS - seconds(lostMs), ({ places }) =>
        places.every(({ node, state }) => node === 'a' && state === 'ready'),
      )
      .then(() => say(`every place works on a: ${inWords(seconds(lostMs))} after, ${inWords(takeOverS)} at most`)),
  ]);
  const lateS = seconds(lostMs);
  if (lateS > clipS)
    throw new Failure(1, `the clip came ${inWords(lateS)} after the ${words}, ${inWords(clipS)} at most`);
  say(`the clip came ${inWords(lateS)} after, ${inWords(clipS)} at most`);
  return result;
}

async function clipOf(request, say, words) {
  const result = await request.result(CLIP_LIMIT_S);
  const { bytes, sha256, isSame, seconds: took } = result;
  if (!isSame) throw new Failure(1, `the clip ${words} is another one: ${bytes} bytes, SHA-256 ${sha256}`);
  say(`the clip ${words} is the same, byte for byte: ${inWords(took)}`);
  return result;
}

/** Between kernels messages go by rxe0, within one by soft0. */
function checkWays({ places }, say) {
  const nodeOf = new Map(places.map(({ place, node }) => [place, node]));
  const across = new Set();
  for (const { place, node, vias } of places) {
    for (const [target, { device, why }] of Object.entries(vias)) {
      // The gateway is no place, and runs on a; a place of a former plan has no node.
      const other = target.startsWith('gateway/') ? 'a' : nodeOf.get(target);
      if (other === undefined) continue;
      const wanted = other === node ? OWN : ACROSS;
      if (device !== wanted.device || !wanted.why.test(why)) {
        throw new Failure(1, `${place} on ${node} reaches ${target} on ${other} by ${device} (${why})`);
      }
      if (other !== node) across.add(`${place} on ${node} to ${target} on ${other}: ${device} (${why})`);
    }
  }
  for (const node of ['a', 'b']) {
    if (![...across].some((way) => way.includes(` on ${node} to `))) throw new Failure(1, `nothing leaves ${node}`);
  }
  for (const way of [...across].sort()) say(`  ${way}`);
}
