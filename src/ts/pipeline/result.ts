// The result of a request, made from the outputs of the last stages.
//
// Invariant: the outputs are settled once: at once where the caller has copies, and where it has views when it releases
// them. An output that cannot be read settles nothing.
import type { Input } from './input.js';
import type { Join, JoinedInputs } from './join.js';
import { GATEWAY_INDEX } from './plan.js';
import type { PipelineOutput, PipelineResult } from './request.js';
import { requestName } from './request-name.js';
import type { WorkflowSpec } from './spec.js';
import { copyParts, piecesOf } from './stream-caller.js';
import type { Ticket } from './ticket.js';
import { addHops, readTrace, type Trace, TraceRecords } from './trace.js';

/**
 * Makes the result of a request.
 *
 * @param gateway its number
 * @param join settles `joined` when nothing of it is needed any more
 * @throws when there is no memory for copies, and RdmaError for metadata that cannot be read; `joined` is not settled
 *   then
 */
export function readResult(
  spec: WorkflowSpec,
  gateway: number,
  join: Pick<Join, 'settle'>,
  ticket: Ticket,
  joined: JoinedInputs,
): PipelineResult {
  const { views, expectation } = ticket;
  const outputs = readOutputs(ticket, joined);
  const trace = ticket.traced ? traceOf(spec, gateway, joined) : undefined;
  if (!views) join.settle(joined);
  let isHeld = views;
  const release = () => {
    if (!isHeld) return;
    isHeld = false;
    join.settle(joined);
  };
  const request = requestName(gateway, joined.ledger.gatewayRun, joined.ticket);
  const expectedMs = expectation === undefined ? undefined : expectation.completionUs / 1000;
  return { request, outputs, trace, expectedMs, release };
}

function readOutputs({ views, pieces }: Ticket, { inputs, streams }: JoinedInputs): PipelineOutput[] {
  const outputs: PipelineOutput[] = [];
  for (const { stage, instance, meta, parts } of inputs as Input[]) {
    const stream = streams?.[outputs.length];
    const output: PipelineOutput = { stage, instance, meta, parts: views ? { ...parts } : copyParts(parts) };
    if (stream !== undefined) output.pieces = piecesOf(stream, views, pieces);
    outputs.push(output);
  }
  return outputs;
}

function traceOf(spec: WorkflowSpec, gateway: number, joined: JoinedInputs): Trace {
  const records = new TraceRecords();
  addHops(records, joined, GATEWAY_INDEX, gateway);
  return readTrace(spec, records.encoded);
}
