// The memory that a pipeline takes before its first request, and the check that there is enough.
//
// Invariant: pure except memoryRoom(): the stated memory is the most that the lanes and processes of a plan take when
// they are made; requests come on top, in pools that take memory as needed and give it back.
import { RdmaError } from '../core/errors.js';
import { bytesInWords, type MemoryRoom, memoryRoom } from '../core/memory-room.js';
import { type Plan, stagePlaces } from '../pipeline/index.js';
import { laneMemoryBytes, type PlaceSizes } from '../pipeline/lane-sizes.js';
import { type Graph, possibleReceivers } from '../pipeline/routing.js';
import { keptPieces } from '../pipeline/stream-limits.js';

/** What a process of a stage has of its own once it is ready, without what its module loads; measured: 14 to 16 MiB. */
const PROCESS_BYTES = 16 * 2 ** 20;

/** Memory that a pipeline has reserved: see {@link LocalPipelineStatus}. */
export interface PipelineMemory {
  /** Ways from one instance, or the gateway, to another one. */
  readonly lanes: number;
  /** Shared memory of all lanes and of what is kept until it is acknowledged, in bytes. */
  readonly laneBytes: number;
  readonly processes: number;
  /** Of all processes, in bytes, without what the stages' modules load. */
  readonly processBytes: number;
}

/** What a plan needs. */
export function memoryNeeds(graph: Graph, plan: Plan, sizes: PlaceSizes): PipelineMemory {
  const places = stagePlaces(plan);
  const gateways = plan.gateways.map((instance) => ({ stage: -1, instance }));
  let lanes = 0;
  let laneBytes = 0;
  for (const from of [...places, ...gateways]) {
    const count = possibleReceivers(graph, plan, from).length;
    lanes += count;
    laneBytes += count * laneMemoryBytes(sizes, keptPieces(graph.spec, from.stage, sizes, plan.gateways.length));
  }
  return {
    lanes,
    laneBytes,
    processes: places.length,
    processBytes: places.length * PROCESS_BYTES,
  };
}

/**
 * Refuses what is not there: the kernel would end some process instead, without a word.
 *
 * @param needs of the plan that is wanted
 * @param has what is taken already
 * @param room for tests; default: this machine's, now
 * @throws RdmaError ENOMEM with the sums
 */
export function checkMemory(
  needs: PipelineMemory,
  has?: PipelineMemory,
  room: MemoryRoom | undefined = memoryRoom(),
): void {
  const laneBytes = needs.laneBytes - (has?.laneBytes ?? 0);
  const processBytes = needs.processBytes - (has?.processBytes ?? 0);
  const wanted = laneBytes + processBytes;
  if (room === undefined || wanted <= room.bytes) return;
  const parts = [
    `${bytesInWords(laneBytes)} for ${needs.lanes - (has?.lanes ?? 0)} lanes`,
    `${bytesInWords(processBytes)} for ${needs.processes - (has?.processes ?? 0)} processes`,
  ];
  const more = has === undefined ? '' : ' more';
  const sum = `${bytesInWords(wanted)}${more} before its first request (${parts.join(', ')})`;
  const text = `the pipeline needs ${sum}; ${room.words}`;
  throw new RdmaError('ENOMEM', text, { remedy: 'lower the instances of its stages, or raise that limit' });
}
