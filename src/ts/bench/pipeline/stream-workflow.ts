// The streaming chain that is measured: the first stage makes a result piece by piece, two more change nothing but copy
// each piece as it comes.
//
// Invariant: every stage copies each byte once, into memory of task.output(); the program in bench/peers
// (stream-open-mpi.c) does the same work. A request is a number, which the result has at every stamp of RequestBytes.
import { type StageOutput, type StageTask, type Workflow, workflow } from '../../pipeline/index.js';
import { RequestBytes } from './request-bytes.js';
import { MAX_STREAM_PIECES } from './settings.js';
import { PART } from './workflow.js';

/** In the metadata of a request. */
export interface StreamRequest {
  number: number;
  sizeBytes: number;
  pieces: number;
}

let data: RequestBytes | undefined; // what the first stage has of its own

async function make(task: StageTask): Promise<StageOutput> {
  const { number, sizeBytes, pieces } = task.input('request').meta as unknown as StreamRequest;
  if (data?.bytes.length !== sizeBytes) data = new RequestBytes(sizeBytes);
  data.stamp(number);
  const stream = task.stream();
  const length = Math.floor(sizeBytes / pieces);
  for (let i = 0; i < pieces; i++) {
    const end = i === pieces - 1 ? sizeBytes : (i + 1) * length;
    const parts = task.output({ [PART]: { dtype: 'u8', shape: [end - i * length] } });
    (parts[PART]!.data as Uint8Array).set(data.bytes.subarray(i * length, end));
    await stream.write(parts);
  }
  return {};
}

function copyFrom(before: string): (task: StageTask) => Promise<StageOutput> {
  return async (task) => {
    const stream = task.stream();
    for await (const piece of task.pieces(before)) {
      const from = piece.parts[PART]!.data as Uint8Array;
      const parts = task.output({ [PART]: { dtype: 'u8', shape: [from.length] } });
      (parts[PART]!.data as Uint8Array).set(from);
      await stream.write(parts);
    }
    return {};
  };
}

const maxPieces = MAX_STREAM_PIECES;

export const streamChain = workflow('stream-chain', { module: __filename })
  .stage('one', { maxPieces, handler: (task) => make(task as StageTask) })
  .stage('two', { after: ['one'], streams: ['one'], maxPieces, handler: (task) => copyFrom('one')(task as StageTask) })
  .stage('three', {
    after: ['two'],
    streams: ['two'],
    maxPieces,
    handler: (task) => copyFrom('two')(task as StageTask),
  });

/** The workflow for results of `sizeBytes`. */
export function streamWorkflow(sizeBytes: number): Workflow {
  const flow = streamChain as unknown as Workflow;
  return flow.withSizes({ stages: Object.fromEntries(flow.stages.map(({ name }) => [name, sizeBytes])) });
}
