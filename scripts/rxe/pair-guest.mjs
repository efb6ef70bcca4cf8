// One guest of a pair as the scenario sees it: a machine on which it starts programs, and which it may cut off.
// Invariant: a program that ends when nobody expects it, and a guest that does, fail whatever waits for them; every
// wait has a limit; and all that was printed last is there for the report.

import path from 'node:path';
import { PassThrough } from 'node:stream';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

import { Failure } from './failure.mjs';
import { runGuest } from './guest.mjs';
import { guestEnvironment } from './request.mjs';

const AGENT = fileURLToPath(new URL('guest-agent.mjs', import.meta.url));
const ROOT = path.resolve(path.dirname(AGENT), '../..');
/** Of a program; a job tells some hundred. */
const LINES_KEPT = 4000;
const LINE_SHOWN = 600;

/** A power cut, which is no failure. */
const POWER_CUT = new Error('its power was cut');

/** A program inside a guest. */
class Program {
  lines = [];
  /** Undefined while it runs. */
  end;
  #changed = new Set();

  constructor(guest, name) {
    this.guest = guest;
    this.name = name;
  }

  tell(line) {
    this.lines.push(line);
    if (this.lines.length > LINES_KEPT) this.lines.shift();
    this.#wake();
  }

  finish(end) {
    this.end ??= end;
    this.#wake();
  }

  #wake() {
    for (const look of [...this.#changed]) look();
  }

  /**
   * Waits until `look` answers something other than undefined.
   * @template T @param {string} what for the failure @param {number} limitS @param {() => T | undefined} look
   * @param {boolean} [mayEnd] its end is no failure
   */
  async until(what, limitS, look, mayEnd = false) {
    let stop;
    try {
      return await new Promise((resolve, reject) => {
        const fail = (why) => reject(new Failure(1, `${this.guest.name}: ${this.name} ${why} before ${what}`));
        const timer = setTimeout(() => fail(`took longer than ${limitS} s`), limitS * 1000);
        const check = () => {
          const found = look();
          if (found !== undefined) resolve(found);
          else if (this.end !== undefined && !mayEnd) fail(`ended (${this.end.words})`);
          else if (this.guest.end !== undefined) fail(`was on a guest that ended (${this.guest.end.message})`);
        };
        this.#changed.add(check);
        stop = () => {
          clearTimeout(timer);
          this.#changed.delete(check);
        };
        check();
      });
    } finally {
      stop();
    }
  }

  /** The first line, from now on or before, that matches. */
  line(pattern, limitS, what = `it said ${pattern}`) {
    return this.until(what, limitS, () => this.lines.map(({ text }) => pattern.exec(text)).find(Boolean));
  }

  /** Its end, whatever it was. @returns {Promise<{ code: number | null, words: string }>} */
  ended(limitS) {
    return this.until('its end', limitS, () => this.end, true);
  }

  /** Its stdout, once it has ended with 0. */
  async output(limitS) {
    const { code, words } = await this.ended(limitS);
    const said = (wanted) => this.lines.filter(({ stream }) => stream === wanted).map(({ text }) => text);
    if (code !== 0)
      throw new Failure(1, `${this.guest.name}: ${this.name} ended with ${words}: ${said('stderr').join('\n')}`);
    return said('stdout').join('\n');
  }

  signal(signal) {
    this.guest.ask({ do: 'signal', id: this.name, signal });
  }

  /** Kills it with every process that it has started. */
  kill() {
    this.guest.ask({ do: 'kill', id: this.name });
  }
}

export class PairGuest {
  /** Undefined while it runs. @type {Error | undefined} */
  end;
  #programs = new Map();
  #names = 0;
  #input = new PassThrough();
  #power = new AbortController();
  #up;
  #whole;

  /**
   * Boots it.
   * @param {{ name: string, say: (text: string) => void, machine: object, stop: AbortSignal }} options `machine`: for
   *   runGuest
   */
  constructor({ name, say, machine, stop }) {
    this.name = name;
    this.say = say;
    const output = lines((text) => this.#heard(JSON.parse(text)));
    const errors = lines((text) => say(`${name}: ${text}`));
    this.#up = new Program(this, 'its agent');
    this.#whole = runGuest({
      ...machine,
      command: [process.execPath, AGENT],
      cwd: ROOT,
      env: guestEnvironment(process.env, [], ROOT),
      shares: [],
      verbose: false,
      stop: AbortSignal.any([stop, this.#power.signal]),
      input: this.#input,
      output,
      errors,
    }).then(
      (code) => this.#ended(new Error(`exit code ${code}`)),
      (error) => this.#ended(error),
    );
  }

  async up(limitS) {
    await this.#up.line(/^up$/, limitS, 'the guest was up');
  }

  #heard(document) {
    if (document.at === 'up') return this.#up.tell({ stream: 'stdout', text: 'up' });
    const program = this.#programs.get(document.id);
    if (document.at === 'line') {
      program?.tell(document);
    } else {
      const { code, signal, error } = document;
      program?.finish({ code, words: error ?? signal ?? `exit code ${code}` });
    }
    return undefined;
  }

  #ended(error) {
    this.end = error;
    for (const program of [this.#up, ...this.#programs.values()]) program.finish({ code: null, words: error.message });
  }

  ask(request) {
    this.#input.write(`${JSON.stringify(request)}\n`);
  }

  /** Starts a program. @param {string} name @param {string[]} argv */
  start(name, argv) {
    this.#names += 1;
    const program = new Program(this, `${name} ${this.#names}`);
    this.#programs.set(program.name, program);
    this.ask({ do: 'start', id: program.name, argv });
    return program;
  }

  /** Runs a program to its end. @returns {Promise<string>} its stdout */
  run(name, argv, limitS) {
    return this.start(name, argv).output(limitS);
  }

  /** Cuts the power: no process of it does another step. */
  async cutPower() {
    this.#power.abort(POWER_CUT);
    await this.#whole;
  }

  /** What its programs printed last. @param {number} each lines of a program */
  report(each) {
    return [...this.#programs.values()].flatMap((program) => [
      `${this.name}: ${program.name}${program.end === undefined ? '' : ` (${program.end.words})`}`,
      ...program.lines.slice(-each).map(({ text }) => `    ${text.slice(0, LINE_SHOWN)}`),
    ]);
  }
}

function lines(onLine) {
  const through = new PassThrough();
  createInterface({ input: through }).on('line', onLine);
  return through;
}
