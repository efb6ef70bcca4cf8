// Traces that others have published, read from files that the user has fetched. The package holds no row of them.
//
// Invariant: a field that the source lacks keeps its default, and the notes say so; rows that the source marks as not
// served are counted.
import { RdmaError } from '../../core/errors.js';
import { columnsOf, type CsvRow, csvRows, readCsvTrace } from './csv.js';
import { type Trace, TraceBuilder } from './trace.js';

const MODEL = 'checkpoint_model_version_id';

/**
 * Reads Alibaba's GenTD26: either `lora_request_trace.csv` as published (`gmt_create`, `checkpoint_model_version_id`,
 * ...) or the small form with `arrival_s`, `model`, `exec_s`, `loras`, `user`. A request is one unit of work.
 *
 * @throws RdmaError RDMA_ERR_INVALID_ARGUMENT naming the line
 */
export function readGentd26(name: string, text: string): Trace {
  const isSmall = text.slice(0, 200).includes('arrival_s');
  const builder = new TraceBuilder(name);
  let [unserved, firstS] = [0, Number.NaN];
  for (const row of csvRows(name, text, isSmall ? ['arrival_s', 'model'] : ['gmt_create', MODEL])) {
    const where = `line ${row.line}`;
    const model = row.text(isSmall ? 'model' : MODEL) ?? '';
    if (model === '' || model === '-1') {
      unserved++;
      continue;
    }
    let arrivalS = row.number('arrival_s');
    if (!isSmall) {
      const atS = timeS(name, where, row.text('gmt_create') ?? '');
      if (Number.isNaN(firstS)) firstS = atS;
      arrivalS = atS - firstS;
    }
    const loras = row.number(isSmall ? 'loras' : 'num_lora') ?? 0;
    const tenant = row.text(isSmall ? 'user' : 'groupId');
    builder.add({ arrivalS: arrivalS ?? Number.NaN, model, tenant, hasAdapter: loras > 0 }, where);
  }
  if (unserved > 0) builder.notes.push(`${unserved} rows name no model: they were never served, and are left out`);
  builder.notes.push(
    'GenTD26 says how long each request ran, not how much work it was: each is one unit of the profile',
  );
  return builder.done();
}

/**
 * Reads Azure's LLM inference traces of 2023 and 2024 (`TIMESTAMP,ContextTokens,GeneratedTokens`). Units are context
 * tokens, output units generated tokens, over `perUnit`.
 *
 * @param perUnit tokens of one unit of the profile, above 0; default 1000
 * @throws RdmaError RDMA_ERR_INVALID_ARGUMENT naming the line
 */
export function readAzureTrace(name: string, text: string, perUnit = 1000): Trace {
  const builder = new TraceBuilder(name);
  let firstS = Number.NaN;
  for (const row of csvRows(name, text, ['TIMESTAMP', 'ContextTokens', 'GeneratedTokens'])) {
    const where = `line ${row.line}`;
    const atS = timeS(name, where, row.text('TIMESTAMP')!);
    if (Number.isNaN(firstS)) firstS = atS;
    builder.add(
      {
        arrivalS: atS - firstS,
        model: 'default',
        units: Math.max(1, tokensOf(name, row, 'ContextTokens')) / perUnit,
        outputUnits: tokensOf(name, row, 'GeneratedTokens') / perUnit,
      },
      where,
    );
  }
  builder.notes.push(`one unit is ${perUnit} tokens`);
  return builder.done();
}

/**
 * Reads requests that ServeGen (Xiang et al., NSDI '26) generated and wrote as CSV: `timestamp` in seconds,
 * `input_tokens`, `output_tokens`; `client_id` is the tenant where it is there.
 *
 * @param perUnit tokens of one unit of the profile, above 0; default 1000
 * @throws RdmaError RDMA_ERR_INVALID_ARGUMENT naming the line
 */
export function readServeGen(name: string, text: string, perUnit = 1000): Trace {
  const builder = new TraceBuilder(name);
  for (const row of csvRows(name, text, ['timestamp', 'input_tokens', 'output_tokens'])) {
    builder.add(
      {
        arrivalS: row.number('timestamp') ?? Number.NaN,
        model: row.text('model') ?? 'default',
        units: Math.max(1, tokensOf(name, row, 'input_tokens')) / perUnit,
        outputUnits: tokensOf(name, row, 'output_tokens') / perUnit,
        tenant: row.text('client_id'),
      },
      `line ${row.line}`,
    );
  }
  builder.notes.push(`one unit is ${perUnit} tokens`);
  return builder.done();
}

// A request without any input still is one: the readers count it as one token.
function tokensOf(name: string, row: CsvRow, column: string): number {
  const tokens = row.number(column);
  if (tokens !== undefined && tokens >= 0) return tokens;
  const words = tokens === undefined ? `there are no ${column}` : `${column} must be 0 or more, not ${tokens}`;
  throw new RdmaError('RDMA_ERR_INVALID_ARGUMENT', `trace ${name}, line ${row.line}: ${words}`);
}

/** Reads a trace of any known format, told by the names of its columns. @param name of the file, for errors */
export function readTrace(name: string, text: string): Trace {
  if (text.trim() === '') throw new RdmaError('RDMA_ERR_INVALID_ARGUMENT', `trace ${name}: it is empty`);
  const columns = columnsOf(text.slice(0, 2000)); // a file that is no CSV may be one long line
  const has = (column: string) => columns.includes(column);
  if (has('gmt_create') || (has('arrival_s') && has('loras') && has('exec_s'))) return readGentd26(name, text);
  if (has('TIMESTAMP') && has('ContextTokens')) return readAzureTrace(name, text);
  if (has('timestamp') && has('input_tokens')) return readServeGen(name, text);
  if (has('arrival_s')) return readCsvTrace(name, text);
  throw new RdmaError(
    'RDMA_ERR_INVALID_ARGUMENT',
    `trace ${name}: no known format has the columns ${columns.join(',').slice(0, 80)}`,
    {
      remedy: 'give a CSV file with arrival_s and model, or one of GenTD26, Azure or ServeGen',
    },
  );
}

// `2023-11-16 18:17:03.9799600`, with or without a zone; only differences of it are used.
function timeS(name: string, where: string, text: string): number {
  const match = /^(\d{4}-\d\d-\d\d)[ T](\d\d:\d\d:\d\d)(\.\d+)?/.exec(text);
  const ms = match === null ? Number.NaN : Date.parse(`${match[1]}T${match[2]}Z`);
  if (Number.isNaN(ms)) {
    throw new RdmaError('RDMA_ERR_INVALID_ARGUMENT', `trace ${name}, ${where}: no time: ${text.slice(0, 40)}`);
  }
  return ms / 1000 + Number(match![3] ?? 0);
}
