// Proves that the error of a device that cannot be opened names the true reason.
import { chmodSync, readdirSync, statSync } from 'node:fs';
import { constants } from 'node:os';
import t from 'tap';
import { Device } from '../../src/ts/verbs/index.js';
import { deviceName, ended, isSoft, startHelper } from './support.js';

const skip = isSoft ? 'soft0 has no device file' : process.getuid?.() === 0 ? false : 'only root may change the file';

void t.test('a device file that this user may not open is reported as denied, not as missing', { skip }, async (t) => {
  const [name] = readdirSync('/sys/class/infiniband_verbs').filter((one) => one.startsWith('uverbs'));
  const file = `/dev/infiniband/${name}`;
  const { mode } = statSync(file);
  chmodSync(file, 0o600);
  t.teardown(() => chmodSync(file, mode));
  const { how, output } = await ended(startHelper('denied', []), 60_000);
  t.equal(how, '0');
  const told = JSON.parse(output.trim().split('\n').at(-1)!) as { code: string; errno: number; message: string };
  t.match(told, { code: 'RDMA_ERR_NO_DEVICE', errno: -constants.errno.EACCES });
  t.match(told.message, /permission denied|needs read and write access/i);
  t.notMatch(told.message, /missing/);
});

void t.test('limits are numbers that JavaScript says exactly', async (t) => {
  using device = Device.open(deviceName);
  t.ok(Number.isSafeInteger(device.attributes.maxMrBytes), String(device.attributes.maxMrBytes));
});
