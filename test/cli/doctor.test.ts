// Proves: `onepiece doctor` runs on this machine, ends with the code of its verdict, and knows wrong usage.
import t from 'tap';
import { listDevices } from '../../src/ts/verbs/index.js';
import { onepiece, scratch } from './command.js';

const folder = scratch();
const codes = { verbs: 0, soft: 3, none: 1 } as const;

void t.test('the document and the code', async (t) => {
  const { code, stdout, stderr } = await onepiece(['doctor', '--json'], folder);
  const { schemaVersion, verdict, usable, findings } = JSON.parse(stdout);
  t.equal(stderr, '');
  t.equal(schemaVersion, 1);
  t.equal(code, codes[verdict as keyof typeof codes]);
  t.ok(usable.includes('soft0'));
  if (listDevices().devices.length === 1) t.equal(verdict, 'soft', 'soft0 is all there is');
  for (const { id, severity, seen, remedy } of findings) {
    t.match(severity, /^(ok|note|warning|problem)$/, id);
    t.ok(seen.length > 0 && (severity === 'ok' || severity === 'note' || remedy.length > 0), id);
  }
  for (const id of ['node', 'addon', 'soft0', 'peer', 'kernel', 'modules', 'memlock', 'nofile']) {
    t.ok(
      findings.some((finding: { id: string }) => finding.id === id),
      id,
    );
  }
});

void t.test('the lines', async (t) => {
  const { code, stdout } = await onepiece(['doctor'], folder);
  t.match(stdout, /^ok +node +Node\.js v/);
  t.match(stdout, code === 0 ? /\nReady: .* can be used\.\n$/ : /\nNo verbs device can be used; soft0 can/);
});

void t.test('without the addon nothing can be used, and that is said', async (t) => {
  // So that node-gyp-build looks where there is none.
  const env = { PREBUILDS_ONLY: '1', npm_config_arch: 'none', ONEPIECE_RDMA_PREBUILD: '' };
  const before = { ...process.env };
  Object.assign(process.env, env);
  const ended = onepiece(['doctor', '--json'], folder);
  for (const name of Object.keys(env)) {
    if (before[name] === undefined) delete process.env[name];
    else process.env[name] = before[name];
  }
  const { code, stdout, stderr } = await ended;
  t.equal(code, 1, stderr);
  const { verdict, usable, findings } = JSON.parse(stdout);
  t.same([verdict, usable], ['none', []]);
  t.match(findings[1], {
    id: 'addon',
    severity: 'problem',
    seen: /RDMA_ERR_NATIVE_MISSING/,
    remedy: /^build it here: node /,
  });
});

void t.test('wrong usage', async (t) => {
  for (const args of [['--nonsense'], ['soft0']]) {
    const { code, stdout } = await onepiece(['doctor', ...args], folder);
    t.equal(code, 2, args.join(' '));
    t.equal(stdout, '');
  }
});
