// Proves that a failed verbs call says what to do, that a caller's own remedy wins, and that other calls stay as they
// are.
import { constants } from 'node:os';
import t from 'tap';
import { errnoError } from '../../src/ts/core/errors.js';

void t.test('a verbs call that failed has a remedy by its errno', async (t) => {
  const { EMFILE, ENODEV, ENOSYS, EPERM, EOPNOTSUPP } = constants.errno;
  t.match(errnoError(-EMFILE, 'ibv_create_comp_channel').remedy, /ulimit -n/);
  t.match(errnoError(-ENODEV, 'ibv_open_device').remedy, /driver in user space/);
  t.match(errnoError(-ENOSYS, 'ibv_get_device_list').remedy, /no InfiniBand support/);
  t.match(errnoError(-EPERM, 'ibv_reg_mr').remedy, /RLIMIT_MEMLOCK/);
  t.match(errnoError(-EOPNOTSUPP, 'ibv_create_srq').remedy, /this device has not got it/);
  t.equal(errnoError(-EPERM, 'ibv_reg_mr', 'mine').remedy, 'mine');
  t.equal(errnoError(-EPERM, 'connect').remedy, undefined, 'no verbs call');
});
