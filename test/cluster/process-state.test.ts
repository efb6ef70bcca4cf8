// Proves: a process is seen to be stopped while it is, whatever its name, and not when it runs, sleeps or has ended.
import { spawn } from 'node:child_process';
import t from 'tap';
import { isStopped } from '../../src/ts/cluster/process-state.js';
import { until } from '../pipeline/support.js';

void t.test('stopped, continued, ended', async (t) => {
  const script = `process.title = 'a) T 1 ('; process.stdout.write('x'); setInterval(() => {}, 1000);`;
  const child = spawn(process.execPath, ['-e', script], { stdio: ['ignore', 'pipe', 'inherit'] });
  t.teardown(() => child.kill('SIGKILL'));
  const pid = child.pid!;
  await new Promise((resolve) => child.stdout.once('data', resolve));
  t.notOk(isStopped(pid));
  child.kill('SIGSTOP');
  await until('the stop', () => isStopped(pid));
  child.kill('SIGCONT');
  await until('its return', () => !isStopped(pid));
  child.kill('SIGKILL');
  await new Promise((resolve) => child.once('exit', resolve));
  t.notOk(isStopped(pid));
});
