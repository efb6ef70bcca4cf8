// `onepiece bench pipeline`: how fast a pipeline of stages is, beside its peers.
//
// Invariant: every figure printed was measured in this run; nothing is remembered or estimated.
import { Command, InvalidArgumentError } from 'commander';
import type { PipelinePeer } from '../bench/pipeline/peer.js';
import { pipelineDocument } from '../bench/pipeline/result.js';
import { benchPipelines } from '../bench/pipeline/run.js';
import {
  checkPipelineSettings,
  MAX_IDLE_SECONDS,
  MAX_IN_FLIGHT,
  MAX_POLL_US,
  MAX_REST_MS,
  MAX_SECONDS,
  MAX_SIZE_BYTES,
  MAX_STAGES,
  MAX_STREAM_PIECES,
  MIN_SIZE_BYTES,
  type Mode,
  modes,
  type PipelineSettings,
  pipelineDefaults,
} from '../bench/pipeline/settings.js';
import { type Shape, shapes } from '../bench/pipeline/shape.js';
import { pipelineText } from './bench-pipeline-table.js';
import { addCompare, comparedWith, type PeersOf } from './bench-compare.js';
import { runBench, usable } from './bench-run.js';
import { UsageError } from './exit.js';
import { integer, integers, listOf, sizes } from './options.js';

interface Flags {
  device: string;
  shape: Shape[];
  size?: number[];
  inFlight?: number[];
  mode: Mode[];
  views?: true;
  pollUs?: number;
  seconds: number;
  restMs?: number;
  idleSeconds?: number;
  stream?: number[] | true;
  start?: number[];
  compare?: string[];
  json?: true;
}

const defaults = pipelineDefaults;
const peersOf: PeersOf<PipelinePeer> = ({ pipelines }) => pipelines;
/** The size of a request after a rest, and of those that warm up a pipeline that is then idle. */
const SMALL = [MIN_SIZE_BYTES];
/** Whole, and in pieces; and how large. */
const STREAM_PIECES = [1, 64];
const STREAM_SIZE = [16 * 2 ** 20];

export function pipelineCommand(setExitCode: (code: number) => void): Command {
  const command = new Command('pipeline')
    .description('requests through a pipeline of stages: latency, rate, processor time and memory, beside peers')
    .option('-d, --device <name>', 'the RDMA device', defaults.device)
    .option('--shape <shapes>', `some of ${shapes.join(',')}`, listOf(shapes), [...defaults.shapes])
    .option('--size <bytes>', 'sizes of a request, 64 to 64m (default: 64,64k,1m,16m; 64 for rests and idling)', bytes)
    .option(
      '--in-flight <counts>',
      `requests under way, each 1 to ${MAX_IN_FLIGHT} (default: ${defaults.inFlight.join()})`,
      integers(1, MAX_IN_FLIGHT),
    )
    .option(
      '--mode <modes>',
      `what our stages do with a request: ${modes.join(', ')}; docs/bench.md says what these are`,
      listOf(modes),
      [...defaults.modes],
    )
    .option('--views', 'take our results as views of received memory instead of copies')
    .option('--poll-us <count>', 'how long our processes poll before they sleep', integer(0, MAX_POLL_US))
    .option('--seconds <count>', 'how long each figure is measured', integer(1, MAX_SECONDS), defaults.seconds)
    .option('--rest-ms <count>', 'instead: one request at a time, each after such a rest', integer(1, MAX_REST_MS))
    .option('--idle-seconds <count>', 'instead: processor time without requests', integer(1, MAX_IDLE_SECONDS))
    .option(
      '--stream [pieces]',
      `instead: a chain of streaming stages, results in so many pieces (default: ${STREAM_PIECES.join()}), of 16m`,
      integers(1, MAX_STREAM_PIECES),
    )
    .option('--start <stages>', 'instead: how long so many stages take to start', integers(1, MAX_STAGES))
    .option('--json', 'print one JSON document instead of the table')
    .action(async (flags: Flags) => setExitCode(await run(settingsOf(flags), flags)));
  return addCompare(command, peersOf);
}

function bytes(text: string): number[] {
  const wanted = sizes(MAX_SIZE_BYTES)(text);
  if (wanted.some((size) => size < MIN_SIZE_BYTES)) {
    throw new InvalidArgumentError(`Give sizes of at least ${MIN_SIZE_BYTES} bytes.`);
  }
  return wanted;
}

function settingsOf(flags: Flags): PipelineSettings {
  const {
    device,
    shape,
    size,
    inFlight,
    mode,
    views = false,
    pollUs,
    seconds,
    restMs,
    idleSeconds,
    stream,
    start = [],
  } = flags;
  const load = restMs === undefined && idleSeconds === undefined && stream === undefined && start.length === 0;
  if (!load && inFlight !== undefined) {
    throw new UsageError('--in-flight: rests, idling, streams and starts are measured without it');
  }
  return usable(() =>
    checkPipelineSettings({
      device,
      shapes: shape,
      sizes: size ?? (load ? defaults.sizes : stream === undefined ? SMALL : STREAM_SIZE),
      inFlight: inFlight ?? (load ? defaults.inFlight : [1]),
      modes: mode,
      views,
      pollUs: pollUs ?? null,
      seconds,
      restMs: restMs ?? null,
      idleSeconds: idleSeconds ?? null,
      streamPieces: stream === true ? STREAM_PIECES : (stream ?? []),
      startStages: start,
    } satisfies PipelineSettings),
  );
}

function run(settings: PipelineSettings, flags: Flags): Promise<number> {
  return runBench(flags, async (surroundings) => {
    const peers = comparedWith(flags.compare, peersOf);
    const document = pipelineDocument(await benchPipelines({ settings, peers, ...surroundings }));
    return { document, text: () => pipelineText(document) };
  });
}
