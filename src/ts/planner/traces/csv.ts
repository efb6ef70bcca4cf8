// Rows of comma-separated values, and the project's own trace format.
//
// Invariant: a file is read by the names of its columns; a number that is none, or a row that is too short, is an error
// that names the line.
import { RdmaError } from '../../core/errors.js';
import { type Trace, TraceBuilder } from './trace.js';

const DECIMAL = /^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i;

/** Values of one line, by column. */
export interface CsvRow {
  /** Its number, the header being 1. */
  readonly line: number;
  /** The text of a column; '' where it is empty, undefined where the file has no such column. */
  text(column: string): string | undefined;
  /** The number of a column; undefined where it is empty or not there. @throws where it is no number */
  number(column: string): number | undefined;
}

/**
 * Reads lines. Values have no commas in them, or are quoted in full.
 *
 * @param name of the file, for errors
 * @param needed columns that the header must name
 * @throws RdmaError RDMA_ERR_INVALID_ARGUMENT naming the file and the line
 */
export function* csvRows(name: string, text: string, needed: readonly string[]): Generator<CsvRow> {
  const columns = columnsOf(text);
  for (const column of needed) {
    if (!columns.includes(column)) {
      throw new RdmaError('RDMA_ERR_INVALID_ARGUMENT', `trace ${name}, line 1: there is no column ${column}`, {
        remedy: `its columns are ${columns.join(',').slice(0, 120)}`,
      });
    }
  }
  const twice = columns.find((column, i) => column !== '' && columns.indexOf(column) < i);
  if (twice !== undefined) {
    throw new RdmaError('RDMA_ERR_INVALID_ARGUMENT', `trace ${name}, line 1: two columns are called ${twice}`);
  }
  const places = new Map(columns.map((column, i) => [column, i]));
  let line = 1;
  for (let at = lineEnd(text, 0) + 1; at < text.length; ) {
    const end = lineEnd(text, at);
    const cells = text.slice(at, end).replace(/\r$/, '');
    at = end + 1;
    line++;
    if (cells.trim() === '') continue;
    const values = split(cells);
    if (values.length !== columns.length) {
      const words = `it has ${values.length} values, the header has ${columns.length}`;
      throw new RdmaError('RDMA_ERR_INVALID_ARGUMENT', `trace ${name}, line ${line}: ${words}`);
    }
    yield rowOf(name, line, values, places);
  }
}

/** The names of the columns of a file, from its first line. */
export function columnsOf(text: string): string[] {
  const header = text.slice(0, lineEnd(text, 0)).replace(/^\uFEFF/, '');
  return split(header).map((column) => column.trim());
}

function lineEnd(text: string, from: number): number {
  const end = text.indexOf('\n', from);
  return end < 0 ? text.length : end;
}

function split(line: string): string[] {
  const values = line.split(',');
  return values.map((value) => (value.startsWith('"') && value.endsWith('"') ? value.slice(1, -1) : value));
}

function rowOf(name: string, line: number, values: string[], places: ReadonlyMap<string, number>): CsvRow {
  const textOf = (column: string) => {
    const place = places.get(column);
    return place === undefined ? undefined : values[place]!.trim();
  };
  return {
    line,
    text: textOf,
    number: (column) => {
      const value = textOf(column);
      if (value === undefined || value === '') return undefined;
      const number = DECIMAL.test(value) ? Number(value) : Number.NaN;
      if (!Number.isFinite(number)) {
        const words = `${column} is no number: ${value.slice(0, 40)}`;
        throw new RdmaError('RDMA_ERR_INVALID_ARGUMENT', `trace ${name}, line ${line}: ${words}`);
      }
      return number;
    },
  };
}

const OWN_COLUMNS: readonly string[] = [
  'arrival_s',
  'model',
  'class',
  'units',
  'output_units',
  'tenant',
  'deadline_s',
  'adapter',
];

/**
 * Reads the project's own format. Its header names some of these columns, in any order: `arrival_s` (seconds from the
 * beginning, not descending; needed), `model` (or `class`; default `default`), `units` (of work, above 0; default 1),
 * `output_units`, `tenant`, `deadline_s` (the answer is of no use later), `adapter` (0, or 1: it needs one). The notes
 * name columns that it does not read.
 *
 * @throws RdmaError RDMA_ERR_INVALID_ARGUMENT naming the line
 */
export function readCsvTrace(name: string, text: string): Trace {
  const builder = new TraceBuilder(name);
  const columns = columnsOf(text);
  const unread = columns.filter((column) => !OWN_COLUMNS.includes(column));
  if (unread.length > 0) builder.notes.push(`columns that are not read: ${unread.join(', ').slice(0, 120)}`);
  if (!columns.includes('model') && !columns.includes('class')) {
    builder.notes.push('no column model: all requests are of one model');
  }
  for (const row of csvRows(name, text, ['arrival_s'])) {
    const arrivalS = row.number('arrival_s');
    const adapter = row.number('adapter') ?? 0;
    if (adapter !== 0 && adapter !== 1) {
      const words = `adapter must be 0 or 1, not ${adapter}`;
      throw new RdmaError('RDMA_ERR_INVALID_ARGUMENT', `trace ${name}, line ${row.line}: ${words}`);
    }
    builder.add(
      {
        arrivalS: arrivalS ?? Number.NaN,
        model: row.text('model') ?? row.text('class') ?? 'default',
        units: row.number('units'),
        outputUnits: row.number('output_units'),
        tenant: row.text('tenant'),
        deadlineS: row.number('deadline_s'),
        hasAdapter: adapter === 1,
      },
      `line ${row.line}`,
    );
  }
  return builder.done();
}

/** Writes the project's own format; {@link readCsvTrace} reads the same trace. */
export function writeCsvTrace(trace: Trace): string {
  const lines = ['arrival_s,model,units,output_units,tenant,deadline_s,adapter'];
  for (let i = 0; i < trace.arrivalS.length; i++) {
    const deadline = trace.deadlineS[i]!;
    const cells = [
      trace.arrivalS[i]!,
      trace.models[trace.model[i]!]!,
      trace.units[i]!,
      trace.outputUnits === trace.units ? '' : trace.outputUnits[i]!,
      trace.tenant[i]!,
      deadline === Number.POSITIVE_INFINITY ? '' : deadline,
      trace.hasAdapter[i]!,
    ];
    lines.push(cells.join(','));
  }
  return `${lines.join('\n')}\n`;
}
