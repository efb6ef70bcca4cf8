// Proves that a queue pair which a device does not make is refused with the words for that, and not with others.
import t from 'tap';
import { Device, QpType } from '../../src/ts/verbs/index.js';

void t.test('a queue pair of a kind that soft0 has not is ENOTSUP, and says which kind', async (t) => {
  using device = Device.open('soft0');
  const pd = device.allocateProtectionDomain();
  const sendCq = device.createCompletionQueue(4);
  const sharedReceiveQueue = pd.createSharedReceiveQueue();
  t.throws(() => pd.createQueuePair({ sendCq, sharedReceiveQueue, type: QpType.UD }), {
    code: /^(ENOTSUP|EOPNOTSUPP)$/,
    remedy: 'soft0 has no queue pairs of type UD with a shared receive queue',
  });
});
