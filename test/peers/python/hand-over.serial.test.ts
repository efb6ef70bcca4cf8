// Proves: each way in which Python programs hand arrays over is measured and leaves nothing behind, one that is not
// installed is named with the line that installs it, and one that fails says its last words.
import { chmodSync, readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { pythonPeers } from '../../../bench/peers/python/hand-over.js';
import { packageRoot } from '../../../src/ts/addon/native.js';
import { checkPythonBench } from '../../../src/ts/bench/python/settings.js';
import { until } from '../../pipeline/support.js';
import { lacking } from '../support.js';

const PYTHON = '/usr/bin/python3';
const never = new AbortController().signal;
const settings = (interpreter: string, handOverBytes: number) =>
  checkPythonBench({ interpreter, handOverBytes, handOvers: 3 });

const PROGRAM = join(packageRoot(), 'bench', 'peers', 'python-hand-over.py');

/** Processes of the peers of this checkout that run now. */
function running(): string[] {
  return readdirSync('/proc').filter((name) => {
    try {
      return /^\d+$/.test(name) && readFileSync(`/proc/${name}/cmdline`, 'utf8').includes(PROGRAM);
    } catch {
      return false;
    }
  });
}

for (const peer of pythonPeers) {
  const skip = lacking(() => peer.check(PYTHON));
  void t.test(`${peer.what}: arrays of 8 bytes and of 8 MiB`, { skip }, async (t) => {
    for (const bytes of [8, 2 ** 23]) {
      const times = await peer.measure(settings(PYTHON, bytes), 2, never);
      t.equal(times.length, 3);
      t.ok(times.every((us) => us > 0));
    }
    t.same(running(), []);
  });

  void t.test(`${peer.what}: ends when it is stopped`, { skip }, async (t) => {
    const stop = new AbortController();
    const wanted = checkPythonBench({ interpreter: PYTHON, handOverBytes: 2 ** 23, handOvers: 10_000 });
    const measuring = peer.measure(wanted, 2, stop.signal);
    // timeout(1), the program, and the process that reads.
    const processes = peer === pythonPeers[0] ? 2 : 3;
    await until('its processes', () => running().length >= processes);
    stop.abort();
    await t.rejects(measuring, { code: 'RDMA_ERR_ABORTED' });
    await until('nothing that runs', () => running().length === 0);
  });
}

/** A program that runs Python without any package. */
function bare(folder: string): string {
  const program = join(folder, 'bare-python');
  writeFileSync(program, `#!/bin/sh\nexec ${PYTHON} -I -S "$@"\n`);
  chmodSync(program, 0o755);
  return program;
}

void t.test('what is not installed is named with the apt-get line', async (t) => {
  const python = bare(t.testdir());
  for (const [what, module, debian] of [
    [/NumPy/, 'numpy', 'python3-numpy'],
    [/ZeroMQ/, 'zmq', 'python3-zmq'],
    [/gRPC/, 'grpc', 'python3-grpcio'],
  ] as const) {
    const peer = pythonPeers.find((each) => what.test(each.what))!;
    const wanted = { code: 'RDMA_ERR_INVALID_ARGUMENT', message: new RegExp(`${python} has no module ${module}`) };
    t.throws(() => peer.check(python), { ...wanted, remedy: `apt-get install ${debian}` });
  }
  t.throws(() => pythonPeers[0]!.check('no-such-python-here'), { message: /ENOENT/ });
});

void t.test('a way that fails says why', async (t) => {
  const measuring = pythonPeers[0]!.measure(settings(bare(t.testdir()), 1024), 1, never);
  await t.rejects(measuring, { code: 'RDMA_ERR_PROTOCOL', message: /No module named 'numpy'/ });
});
