// Runs one group of configurations of the model, each as an assertion of its own.
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import t from 'tap';
import { packageRoot } from '../../src/ts/addon/native.js';

interface Result {
  name: string;
  expect: string;
  ok: boolean;
  found?: string;
  why?: string;
  states?: number;
  output?: string;
  trail?: string;
  replay?: string;
}

const inCI = !['', '0', 'false'].includes(process.env.CI ?? '');
const absent = ['spin', 'gcc'].filter((each) => spawnSync(each, ['--help']).error !== undefined);

/**
 * @param part which of how many parts of the group, `I/N`: each ends within the time of a file on a busy machine
 * @param least how many configurations it has to have
 */
export function checkGroup(group: 'safety' | 'liveness' | 'controls', part: string, least: number): void {
  const skip = absent.length > 0 && !inCI && `${absent.join(' and ')} not installed: apt-get install spin gcc`;
  void t.test(`the ring model: ${group}, part ${part}`, { skip }, async (t) => {
    t.same(absent, [], 'in CI the model has to be checked: spin and gcc are there');
    if (absent.length > 0) return;
    const script = join(packageRoot(), 'scripts/model.mjs');
    const child = spawn(process.execPath, [script, '--json', '--group', group, '--part', part], {
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    t.teardown(() => child.kill('SIGTERM'));
    const [stdout, stderr] = await Promise.all([text(child.stdout), text(child.stderr), once(child, 'close')]);
    t.equal(stderr, '');
    const { results } = JSON.parse(stdout) as { results: Result[] };
    t.ok(results.length >= least, `${results.length} configurations`);
    for (const result of results) {
      const { name, expect, found, states } = result;
      const says = expect === 'clean' ? 'holds' : `breaks ${expect}`;
      t.ok(result.ok && found === expect && states! > 0, `${name} ${says}`, { result });
    }
  });
}
