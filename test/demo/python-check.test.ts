// Proves: the check looks for what the demo's stages in Python need, and names each missing thing with its remedy.
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { checkDemoPython } from '../../src/ts/demo/python-check.js';

void t.test('a Python with NumPy will do', async (t) => {
  await t.resolves(checkDemoPython('/usr/bin/python3'));
});

void t.test('a Python without NumPy is refused, and the remedy is named', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'onepiece-no-numpy-'));
  t.teardown(() => rmSync(folder, { recursive: true }));
  // -S: without its site-packages.
  const program = join(folder, 'python');
  writeFileSync(program, '#!/bin/sh\nexec /usr/bin/python3 -I -S "$@"\n');
  chmodSync(program, 0o755);
  await t.rejects(checkDemoPython(program), {
    name: 'DemoError',
    code: 'DEMO_ERR_PYTHON_MISSING',
    message: /has no NumPy: install it \(on Debian "apt-get install python3-numpy"\)/,
  });
});

void t.test('what is no Python, or none that starts, is refused', async (t) => {
  const refused = { name: 'DemoError', code: 'DEMO_ERR_PYTHON_MISSING' };
  await t.rejects(checkDemoPython('/nowhere/python3'), { ...refused, message: /ENOENT.*install Python 3\.9/ });
  await t.rejects(checkDemoPython('/bin/false'), { ...refused, message: /Python 3\.9 or later is needed/ });
});
