// Proves that a command line loads the modules of its command and no others, and that every command is found.
import t from 'tap';
import { COMMAND_GROUPS, loadCommands } from '../../src/ts/cli/commands.js';

const loaded = (folder: string) => Object.keys(require.cache).some((file) => file.includes(folder));
const names = async (first: string | undefined) => (await loadCommands(first, () => {})).map((each) => each.name());

void t.test('the version needs no command', async (t) => {
  for (const first of ['-V', '--version']) t.same(await names(first), []);
  t.notOk(loaded('/cluster/'));
});

void t.test('a command is loaded alone', async (t) => {
  t.same(await names('cluster'), ['cluster']);
  t.ok(loaded('/cluster/'));
  t.notOk(loaded('/src/ts/bench/'));
  t.notOk(loaded('/src/ts/serve/'));
  t.same(await names('rollback'), ['deploy', 'rollback']);
});

void t.test('without a command that there is, all are loaded, under the names of the table', async (t) => {
  const all = COMMAND_GROUPS.flatMap((group) => group.names);
  t.equal(new Set(all).size, all.length);
  for (const first of [undefined, '--help', 'help', 'nod', 'constructor']) t.same(await names(first), all);
  t.ok(loaded('/src/ts/bench/'));
});
