// What Python says of an error, in the words of a failure.
//
// Invariant: what a failure carries to the gateway is short: what matters is kept, which is at the beginning or the
// end.
import type { Task } from '../../pipeline/task.js';
import type { FromPython } from './records.js';

/** Characters of an error that comes from Python. */
const MAX_ERROR_CHARS = 1800;

/** The error of a task: the reason of its signal when it is because of that. */
export function failureOf(record: FromPython & { t: 'error' }, task: Task): unknown {
  if (record.late && task.cancelled !== undefined) return task.cancelled;
  const error = new Error(shortened(record.error));
  return record.retryable ? Object.assign(error, { retryable: true }) : error;
}

/** What matters of the last that a process has printed: faulthandler says it first, all others at the end. */
export function lastWords(printed: string): string {
  const at = printed.lastIndexOf('Fatal Python error');
  return at < 0 ? printed.slice(-MAX_ERROR_CHARS / 2) : printed.slice(at, at + MAX_ERROR_CHARS / 2);
}

/** An error as Python tells it: the important parts are its beginning, which names it, and its end. */
export function shortened(text: string): string {
  if (text.length <= MAX_ERROR_CHARS) return text;
  const half = MAX_ERROR_CHARS / 2;
  return `${text.slice(0, half)}\n...\n${text.slice(-half)}`;
}
