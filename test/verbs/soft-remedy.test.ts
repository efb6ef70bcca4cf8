// Proves that what soft0 lacks is said with its errno, the limit and its value; and that a peer that it cannot reach is
// not called a wrong attribute.
import { spawnSync } from 'node:child_process';
import t from 'tap';
import { Device, QpState } from '../../src/ts/verbs/index.js';
import { deviceError, softRemedy } from '../../src/ts/verbs/soft-remedy.js';

void t.test('a remedy for each errno, by what was tried', async (t) => {
  for (const [code, syscall, words] of [
    ['EMFILE', 'ibv_open_device', /ulimit -n\), which is \d+/],
    ['ENFILE', 'ibv_reg_mr', /fs\.file-max/],
    ['ENOMEM', 'ibv_reg_mr', /ulimit -v\), which is (\d+|unlimited)/],
    ['EFBIG', 'ibv_reg_mr', /ulimit -f/],
    ['EAGAIN', 'ibv_modify_qp', /ulimit -u/],
    ['EPERM', 'ibv_open_device', /memfd_create/],
    ['ENOSYS', 'ibv_open_device', /memfd_create/],
    ['EPERM', 'ibv_modify_qp', /pidfd_open/],
    ['ENOSYS', 'ibv_modify_qp', /pidfd_open/],
    ['EACCES', 'ibv_modify_qp', /one user in one PID namespace/],
    ['EHOSTUNREACH', 'ibv_modify_qp', /one user in one PID namespace/],
    ['EPROTONOSUPPORT', 'ibv_modify_qp', /version/],
  ] as const) {
    t.match(softRemedy(code, syscall), words, `${code} of ${syscall}`);
  }
  t.equal(softRemedy('EINVAL', 'ibv_modify_qp'), undefined);
  t.equal(softRemedy('EACCES', 'ibv_reg_mr'), undefined);
  t.match(deviceError('mlx5_0', -12, 'ibv_reg_mr').remedy, /RLIMIT_MEMLOCK/, 'a card has other limits');
});

const INDEX = require.resolve('../../src/ts/verbs/index.js');
const OPEN = `try { require(${JSON.stringify(INDEX)}).Device.open('soft0').close(); console.log('{}'); }
  catch ({ code, errno, message }) { console.log(JSON.stringify({ code, errno, message })); }`;

void t.test('a device that is here is not called missing', async (t) => {
  for (const [limit, words] of [
    ['-n 20', /EMFILE.*ulimit -n\), which is 20/],
    ['-v 1200000', /ENOMEM.*ulimit -v\), which is 1228800000/],
    ['-f 1000', /EFBIG.*ulimit -f\), which is 1024000/],
  ] as const) {
    const script = `ulimit ${limit}; exec "$0" -e "$1"`;
    // Each thread may get an arena of glibc, 64 MiB of address space: without them it is known what is left for the
    // device.
    const env = { ...process.env, MALLOC_ARENA_MAX: '1' };
    const { stdout, stderr } = spawnSync('bash', ['-c', script, process.execPath, OPEN], { encoding: 'utf8', env });
    const error = JSON.parse(stdout || '{"message":"it said nothing"}');
    t.equal(error.code, 'RDMA_ERR_NO_DEVICE', stderr);
    t.match(error.message, words);
    t.match(error.message, /soft0 is here, but it cannot be opened/);
    t.notMatch(error.message, /no device|devices here/);
  }
  const error = await Promise.resolve()
    .then(() => Device.open('nic9'))
    .catch((reason: Error) => reason);
  t.match(error, { message: /no device nic9.*devices here: .*soft0/ });
});

void t.test('a peer that is not here, and a wrong attribute', async (t) => {
  using device = Device.open('soft0');
  const pd = device.allocateProtectionDomain();
  const qp = pd.createQueuePair({ sendCq: device.createCompletionQueue(4) });
  const port = device.portAddress();
  qp.toInit(port, 0);
  const gid = `${port.gid.slice(0, -16)}${'5'.repeat(16)}`;
  const nobody = { ...qp.endpoint(port), gid };
  t.throws(() => qp.toReadyToReceive(port, nobody), {
    code: 'EHOSTUNREACH',
    syscall: 'ibv_modify_qp',
    remedy: /one PID namespace/,
  });
  t.throws(() => qp.modify({ state: QpState.READY_TO_SEND }), { code: 'EINVAL', remedy: /no such transition/ });
  t.throws(() => qp.modify({ state: QpState.READY_TO_RECEIVE }), { code: 'EINVAL', remedy: /missing: / });
});
