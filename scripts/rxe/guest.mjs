// One guest: the emulator's process and its channels: control, output, errors and console, and on demand the command's
// input and the wire of its network card.
// Invariant: every channel is an inherited socket, so a run has no file to leave behind; the emulator dies with this
// process however it ends; the status counts only once both outputs have arrived up to the marker.

import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import path from 'node:path';

import { EXIT, Failure, cannotRun } from './failure.mjs';
import { createMarkedStream } from './marked-stream.mjs';
import { dyingWithParent, findProgram } from './program.mjs';
import { composeRequest } from './request.mjs';

const CONSOLE_KEPT = 64 * 1024;
const CONSOLE_SHOWN = 25;
/** The emulated boot takes a few seconds; a loaded machine may need much longer. */
const BOOT_LIMIT = 180_000;
/** How long the runner waits for its own reader once the run is over. */
const FLUSH_LIMIT = 5000;
/** Virtio ports in the order guest-init.sh knows them; the console is a serial line, the wire a network card. */
const PORTS = ['control', 'output', 'errors', 'input'];
const CHANNELS = [...PORTS, 'console', 'wire'];
const FIRST_FD = 3;

/** A comma separates the emulator's options; doubled it is a plain comma. */
const escapeComma = (text) => text.replaceAll(',', ',,');

function emulatorArguments({ image, shares, memory, cpus, verbose, network, requestBytes }) {
  const kernelWords = [
    'console=ttyS0',
    'panic=-1',
    verbose ? 'loglevel=6' : 'quiet',
    'mitigations=off',
    'tsc=reliable',
  ];
  kernelWords.push('random.trust_cpu=on', 'no_timer_check', `rxe.bytes=${requestBytes}`);
  const words = ['-no-user-config', '-nodefaults', '-display', 'none', '-no-reboot'];
  words.push('-accel', 'tcg,thread=multi', '-cpu', 'max,-pku', '-smp', `${cpus}`, '-m', `${memory}`);
  words.push('-kernel', image.kernel, '-initrd', image.initrd, '-append', kernelWords.join(' '));
  const fd = (name) => FIRST_FD + CHANNELS.indexOf(name);
  for (const name of [...PORTS, 'console']) words.push('-chardev', `socket,id=${name},fd=${fd(name)}`);
  words.push('-serial', 'chardev:console', '-device', 'virtio-serial-pci');
  for (const [index, name] of PORTS.entries()) {
    words.push('-device', `virtserialport,chardev=${name},nr=${index + 1},name=onepiece.${name}`);
  }
  // After the ports, whose names in the guest have the number of their device in them. It boots from no network: the
  // file for that is in a package of its own.
  if (network) {
    words.push('-netdev', `socket,id=wire,fd=${fd('wire')}`);
    words.push('-device', `virtio-net-pci,netdev=wire,romfile=,mac=${network.mac}`);
  }
  const filesystem = (tag, directory, access) => {
    const common = `security_model=none,multidevs=remap${access}`;
    words.push('-fsdev', `local,id=${tag},path=${escapeComma(directory)},${common}`);
    words.push('-device', `virtio-9p-pci,fsdev=${tag},mount_tag=${tag}`);
  };
  filesystem('host', '/', ',readonly=on');
  for (const [index, directory] of shares.entries()) filesystem(`share${index}`, directory, '');
  return words;
}

/**
 * Boots a guest, runs the command in it and ends it.
 * @param {{ image: object, command: string[], env: Record<string, string>, cwd: string, shares: string[],
 *   memory: number, cpus: number, timeout: number, verbose: boolean, stop: AbortSignal,
 *   input?: import('node:stream').Readable, output?: import('node:stream').Writable,
 *   errors?: import('node:stream').Writable,
 *   network?: { host: string, address: string, mac: string, neighbours: Record<string, string>,
 *     plug: (wire: import('node:stream').Duplex) => void } }} run `stop` is a power cut. `input`: the command's, by
 *   default nothing; `output` and `errors`: where it goes, by default this process's. `network`: rxe0 is on a network
 *   card, whose wire `plug` gets, instead of a dummy
 * @returns {Promise<number>} the command's exit code
 */
export async function runGuest(run) {
  const emulator = findProgram('qemu-system-x86_64');
  if (emulator === undefined) throw cannotRun('qemu is missing; as root: apt-get install -y qemu-system-x86');
  const marker = randomBytes(16).toString('hex');
  const request = composeRequest({ ...run, marker });
  const words = dyingWithParent([emulator, ...emulatorArguments({ ...run, requestBytes: request.length })]);
  run.stop.throwIfAborted();
  const child = spawn(words[0], words.slice(1), {
    cwd: '/',
    detached: true,
    stdio: ['ignore', 'pipe', 'pipe', ...CHANNELS.map(() => 'pipe')],
  });
  const ended = new Promise((resolve) => {
    child.once('error', (error) => resolve(`the emulator did not start: ${error.message}`));
    child.once('exit', (code, signal) => resolve(`the emulator ended with ${signal ?? `code ${code}`}`));
  });
  const killNow = () => child.kill('SIGKILL');
  process.once('exit', killNow);
  run.network?.plug(child.stdio[FIRST_FD + CHANNELS.indexOf('wire')]);
  try {
    return await converse(child, ended, request, marker, run);
  } finally {
    killNow();
    await ended;
    for (const stream of child.stdio) stream?.destroy();
    process.off('exit', killNow);
    if (!run.stop.aborted) await flush([run.output ?? process.stdout, run.errors ?? process.stderr]);
  }
}

/** Follows the channels until the command has ended, or something else has. */
async function converse(child, ended, request, marker, run) {
  const [control, output, errors, input, console_] = child.stdio.slice(FIRST_FD);
  const log = keepLog([console_, child.stdout, child.stderr], run.verbose);
  const cleanups = [];
  try {
    return await new Promise((resolve, reject) => {
      const after = (milliseconds, action) => {
        const timer = setTimeout(action, milliseconds);
        cleanups.push(() => clearTimeout(timer));
        return timer;
      };
      const interrupted = () => reject(run.stop.reason);
      run.stop.addEventListener('abort', interrupted, { once: true });
      cleanups.push(() => run.stop.removeEventListener('abort', interrupted));

      after(run.timeout * 1000, () => {
        reject(new Failure(EXIT.timeout, `timed out after ${run.timeout} s; give more time with --timeout SECONDS`));
      });
      const bootFailed = (reason) => reject(new Failure(EXIT.bootFailed, `${reason}${log.tail()}`));
      const rebuild = `if it never boots, remove ${path.dirname(run.image.kernel)} to build it again`;
      let booted = false;
      const bootTimer = after(BOOT_LIMIT, () =>
        bootFailed(`the guest did not boot in ${BOOT_LIMIT / 1000} s; ${rebuild}`),
      );

      const outputs = [
        createMarkedStream(output, run.output ?? process.stdout, `\x1e${marker}`),
        createMarkedStream(errors, run.errors ?? process.stderr, `\x1e${marker}`),
      ];
      outputs[0].broken.then(() => reject(new Failure(EXIT.brokenPipe, '')));
      readLines(control, (line) => {
        const [word, ...rest] = line.split(' ');
        if (word === 'ready') {
          booted = true;
          clearTimeout(bootTimer);
        }
        if (word === 'fail') bootFailed(`the guest could not be set up: ${rest.join(' ')}`);
        if (word === 'exit') Promise.all(outputs.map((one) => one.complete)).then(() => resolve(Number(rest[0])));
      });
      control.on('error', () => {});
      input.on('error', () => {});
      run.input?.pipe(input);
      control.write(request);
      // What the console still holds explains the end, so it is read first.
      ended.then((reason) => {
        const what = booted ? `${reason} before the command did` : `${reason} before the guest was up; ${rebuild}`;
        after(200, () => bootFailed(what));
      });
    });
  } finally {
    for (const cleanup of cleanups) cleanup();
  }
}

function readLines(stream, onLine) {
  let rest = '';
  stream.setEncoding('utf8');
  stream.on('data', (text) => {
    const lines = (rest + text).split('\n');
    rest = lines.pop();
    lines.forEach(onLine);
  });
}

function keepLog(streams, verbose) {
  let text = '';
  for (const stream of streams) {
    stream.on('error', () => {});
    stream.on('data', (chunk) => {
      if (verbose) process.stderr.write(chunk);
      text = (text + chunk.toString('latin1')).slice(-CONSOLE_KEPT);
    });
  }
  return {
    tail() {
      const lines = text.split(/[\r\n]+/).filter((line) => line.trim() !== '');
      return lines.length === 0 ? '' : `; its console ended with:\n${lines.slice(-CONSOLE_SHOWN).join('\n')}`;
    },
  };
}

/** Waits until the streams have handed over what was written, within a limit. */
async function flush(streams) {
  const written = streams.map((stream) => new Promise((resolve) => stream.write('', resolve)));
  let timer;
  const limit = new Promise((resolve) => {
    timer = setTimeout(resolve, FLUSH_LIMIT);
  });
  await Promise.race([Promise.all(written), limit]);
  clearTimeout(timer);
}
