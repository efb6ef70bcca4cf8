// The commits to a store on disk that are under way, and the end of the process in the midst of one.
//
// Invariant: a process that exits, ends. The thread of a commit waits for the main thread (lmdb: "waits for
// callbacks"), and process.exit() waits for that thread, so a process that exits during a commit would wait for ever.
// It ends with its exit code then, EXIT_MS after it began to exit; a commit that was not answered may be lost, as in a
// crash.
import { isMainThread } from 'node:worker_threads';
import { native } from '../addon/native.js';

/** Other listeners of the exit, and the report of an uncaught error, come first. */
const EXIT_MS = 300;

let underWay = 0;
let listens = false;

/** Says that a commit begins. @returns how to say that it is over, to be called once */
export function commitBegins(): () => void {
  if (!listens && isMainThread) process.on('exit', endSoon);
  listens = true;
  underWay++;
  return () => {
    underWay--;
  };
}

function endSoon(code: number): void {
  if (underWay > 0) native().exitWithin(EXIT_MS, code);
}
