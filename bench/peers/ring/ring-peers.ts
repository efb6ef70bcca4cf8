// Whom rings are compared with, by the names of --compare.
//
// Invariant: check() says whether a peer can run here before anything is measured; what a peer's program cannot tell is
// null in its result, and a test that it has not is answered with undefined.
import type { RingPeer } from '../../../src/ts/bench/ring/peer.js';
import { emptyResult, NO_LATENCY, type RingResult } from '../../../src/ts/bench/ring/result.js';
import { roundsWithin } from '../../../src/ts/bench/kit/ping-pong.js';
import { round3, summarizeLatency } from '../../../src/ts/bench/kit/statistics.js';
import { MessengerBench } from '../messengers/measure-messenger.js';
import type { Messenger } from '../messengers/messenger.js';
import { messengers } from '../messengers/messengers.js';
import { OpenMpi } from '../mpi/open-mpi.js';
import { PEER_BATCH, type PeerRate, type PeerTransport } from '../peer.js';
import { peerList } from '../peer-list.js';
import { ucxLatency, ucxName, ucxRate } from '../ucx.js';

const GIBIBYTE = 2 ** 30;
/** To find out how long a round takes. */
const PROBE_ROUNDS = 20;
const MAX_BATCHES = 20_000;

function messengerPeer(messenger: Messenger): RingPeer {
  return {
    name: messenger.name,
    maxBytes: messenger.maxBytes,
    check: () => messenger.version(),
    open: async (signal) => {
      const bench = await MessengerBench.open(messenger, signal);
      return {
        measure: (settings, sizeBytes, producers, stop) =>
          settings.test === 'ring-lat'
            ? bench.latency(settings, sizeBytes, stop)
            : bench.throughput(settings, sizeBytes, producers, stop),
        close: () => bench.close(),
      };
    },
  };
}

function openMpiPeer(name: string, transport: PeerTransport): RingPeer {
  const subject = { device: `MPI_Send over ${transport === 'tcp' ? 'TCP' : 'shared memory'}`, peer: name, way: null };
  return {
    name,
    maxBytes: GIBIBYTE,
    check: () => OpenMpi.check(),
    open: async (openSignal) => {
      const mpi = await OpenMpi.compile(openSignal);
      const rate = (touch: boolean) => async (sizeBytes: number, iterations: number, signal?: AbortSignal) =>
        (await mpi.rate('send', transport, [{ sizeBytes, iterations }], { touch, signal }))[0]!;
      return {
        measure: async ({ test, iterations, durationS }, sizeBytes, producers, signal) => {
          if (producers > 1 || test === 'ring-fan-in') return undefined;
          if (test !== 'ring-lat') {
            const result = emptyResult(test, subject, sizeBytes);
            const held = await ratesWithin(rate(false), sizeBytes, iterations, durationS, signal);
            if (test !== 'ring-bw') return withRate(result, held);
            const read = await ratesWithin(rate(true), sizeBytes, iterations, durationS, signal);
            return { ...withRate(result, held), touchedGigabytesPerSecond: gigabytesOf(read) };
          }
          const latency = async (count: number, touch: boolean) =>
            (await mpi.latency('send', transport, [{ sizeBytes, iterations: count }], { touch, signal }))[0]!;
          const probe = summarizeLatency((await latency(PROBE_ROUNDS, true)).samplesUs!);
          const rounds = iterations > 0 ? iterations : roundsWithin(durationS, (2 * probe.avg) / 1000);
          const held = await latency(rounds, false);
          const read = await latency(rounds, true);
          return {
            ...emptyResult(test, subject, sizeBytes),
            iterations: rounds,
            latencyUs: summarizeLatency(held.samplesUs!),
            touchedUs: summarizeLatency(read.samplesUs!),
          };
        },
        close: () => mpi.close(),
      };
    },
  };
}

const ucx: RingPeer = {
  name: 'ucx',
  maxBytes: GIBIBYTE,
  check: ucxName,
  open: async () => ({
    measure: async ({ test, iterations, durationS }, sizeBytes, producers, signal) => {
      if (producers > 1 || test === 'ring-fan-in') return undefined;
      const subject = { device: 'tag send over shared memory', peer: 'ucx', way: null };
      const result = emptyResult(test, subject, sizeBytes);
      if (test !== 'ring-lat') {
        const rate = async (size: number, batches: number) =>
          (await ucxRate('send', [{ sizeBytes: size, iterations: batches * PEER_BATCH }], { signal }))[0]!;
        return withRate(result, await ratesWithin(rate, sizeBytes, iterations, durationS, signal));
      }
      const latency = async (count: number) =>
        (await ucxLatency('send', [{ sizeBytes, iterations: count }], { signal }))[0]!;
      const probe = await latency(PROBE_ROUNDS);
      const rounds = iterations > 0 ? iterations : roundsWithin(durationS, (2 * probe.latencyUs.p50) / 1000);
      const held = await latency(rounds);
      return { ...result, iterations: rounds, latencyUs: { ...NO_LATENCY, ...held.latencyUs } };
    },
    close: async () => {},
  }),
};

/** A rate over as many batches of 64 as the time holds, or as were asked for. */
async function ratesWithin(
  rate: (sizeBytes: number, batches: number, signal?: AbortSignal) => Promise<PeerRate>,
  sizeBytes: number,
  iterations: number,
  durationS: number,
  signal?: AbortSignal,
): Promise<PeerRate> {
  if (iterations > 0) return await rate(sizeBytes, Math.ceil(iterations / PEER_BATCH), signal);
  const probe = await rate(sizeBytes, 2, signal);
  const batches = Math.floor((probe.messagesPerSecond * durationS) / PEER_BATCH);
  if (batches <= 2) return probe;
  return await rate(sizeBytes, Math.min(MAX_BATCHES, batches), signal);
}

function withRate(result: RingResult, { messages, messagesPerSecond, sizeBytes }: PeerRate): RingResult {
  const gigabytesPerSecond = gigabytesOf({ messagesPerSecond, sizeBytes });
  return { ...result, iterations: messages, messagesPerSecond, gigabytesPerSecond };
}

function gigabytesOf({ messagesPerSecond, sizeBytes }: Pick<PeerRate, 'messagesPerSecond' | 'sizeBytes'>): number {
  return round3((messagesPerSecond * sizeBytes) / 1e9);
}

export const ringPeers: readonly RingPeer[] = [
  openMpiPeer('openmpi-shm', 'shared-memory'),
  openMpiPeer('openmpi-tcp', 'tcp'),
  ucx,
  ...messengers.map(messengerPeer),
];

export const { names: peerNames, named: peersNamed } = peerList(ringPeers, {
  openmpi: ['openmpi-shm', 'openmpi-tcp'],
});
