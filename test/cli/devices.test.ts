// Proves: `onepiece devices` shows every device with its address and why, and says what is wrong with a name.
import t from 'tap';
import { listDevices } from '../../src/ts/verbs/index.js';
import { onepiece, scratch } from './command.js';

const folder = scratch();

void t.test('the tables', async (t) => {
  const { code, stdout, stderr } = await onepiece(['devices'], folder);
  t.equal(code, 0, stderr);
  t.match(stdout, /^DEVICE +PROVIDER +TRANSPORT +FIRMWARE +NODE GUID +NUMA\n/);
  t.match(stdout, /^soft0 .*shared-memory/m);
  t.match(stdout, /^soft0\/1 +active +shared memory +4096 .*the address of this process/m);
  for (const [kind, why] of Object.entries(listDevices().missing)) {
    t.ok(stdout.endsWith(`\nNo ${kind} devices: ${why}\n`), `why there is no ${kind} device`);
  }
});

void t.test('one device, with everything', async (t) => {
  const { code, stdout, stderr } = await onepiece(['devices', 'soft0', '--verbose'], folder);
  t.equal(code, 0, stderr);
  for (const words of [
    /maxQp +\d+/,
    /capabilityNames/,
    /port 1 of soft0: address 0/,
    / chosen +the address/,
    /no partition keys/,
  ]) {
    t.match(stdout, words);
  }
  t.notMatch(stdout, /devices:/);
});

void t.test('the document', async (t) => {
  const { code, stdout, stderr } = await onepiece(['devices', 'soft0', '--json'], folder);
  t.equal(code, 0, stderr);
  const { schemaVersion, devices } = JSON.parse(stdout);
  t.equal(schemaVersion, 2);
  t.equal(devices.length, 1);
  const [soft] = devices;
  t.match(soft, { name: 'soft0', kind: 'soft', problem: null, ports: [{ port: 1, state: 'active', problem: null }] });
  t.match(soft.ports[0].gids[soft.ports[0].chosen.index], { usable: true, gid: soft.ports[0].chosen.gid });
  t.match(soft.attributes.nodeGuid, /^0x[0-9a-f]{16}$/);
});

void t.test('a name that is none', async (t) => {
  const unknown = await onepiece(['devices', 'nic9'], folder);
  t.equal(unknown.code, 3);
  t.match(unknown.stderr, /no device nic9.*devices here: .*soft0/);
  t.equal(unknown.stdout, '');
  for (const args of [['a b'], [''], ['x'.repeat(65)], ['soft0', 'soft0'], ['--nonsense']]) {
    const wrong = await onepiece(['devices', ...args], folder);
    t.equal(wrong.code, 2, `${args.join(' ')}: ${wrong.stderr}`);
    t.equal(wrong.stdout, '');
  }
});
