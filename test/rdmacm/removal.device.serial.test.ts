// Proves that the removal of the device is an event, and ends connections and listeners on it. Alone: it takes the
// device away from everybody for a moment, and makes it again.
import { spawn, spawnSync } from 'node:child_process';
import t from 'tap';
import { Device } from '../../src/ts/verbs/index.js';
import { ended, message } from '../verbs/support.js';
import { connectedPair, deviceName, isSoft, refusedOnSoft, startHelper } from './support.js';

const env = { PATH: '/usr/sbin:/usr/bin:/sbin:/bin' };

if (isSoft) void t.test('soft0 is refused, with a remedy', refusedOnSoft);
else
  void t.test('the device is removed under a listener and a connection', async (t) => {
    const entry = (() => {
      using device = Device.open(deviceName);
      return device.queryGidTable().find(({ netdev }) => netdev !== '');
    })();
    const netdev = entry?.netdev ?? 'eth0';
    const child = startHelper('removal');
    t.equal(await message(child), 'ready');
    const told = message<{ reasons: string[]; listening: boolean }>(child);
    const ends = ended(child);
    const removing = spawn('rdma', ['link', 'delete', deviceName], { stdio: 'ignore', env });
    const removed = new Promise<number | null>((resolve) => removing.once('exit', resolve));
    const { reasons, listening } = await told;
    // Both learn of the removal; the one that goes second may have lost its peer before.
    t.ok(reasons.includes('device-removed'), reasons.join());
    t.ok(
      reasons.every((reason) => /^(device-removed|peer)$/.test(reason)),
      reasons.join(),
    );
    t.equal(listening, false, 'the listener was bound to an address of the device');
    t.equal((await ends).how, '0', 'the process lives on, and ends by itself');
    t.equal(await removed, 0, 'rdma link delete');
    const again = spawnSync('rdma', ['link', 'add', deviceName, 'type', 'rxe', 'netdev', netdev], {
      encoding: 'utf8',
      env,
    });
    t.equal(again.status, 0, `rdma link add: ${again.stderr}`);
    await using pair = await connectedPair();
    t.equal(pair.active.deviceName, deviceName, 'and everything works on the new one');
  });
