// Opens the device as a user who is nobody, and says what came of it.
import { Device, listDevices } from '../../src/ts/verbs/index.js';
import { deviceName } from './support.js';

const NOBODY = 65534;

process.disconnect();
listDevices(); // loads what this user may perhaps not read
process.setgroups?.([NOBODY]);
process.setgid?.(NOBODY);
process.setuid?.(NOBODY);
try {
  Device.open(deviceName).close();
  console.log('opened');
} catch (error) {
  const { code, errno, message } = error as NodeJS.ErrnoException;
  console.log(JSON.stringify({ code, errno, message }));
}
