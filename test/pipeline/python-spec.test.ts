// Proves that a stage in Python is data in a spec, and that what it cannot do is refused when the workflow is built.
import t from 'tap';
import { checkSpec, type StageOptions, workflow } from '../../src/ts/pipeline/index.js';

const python = { file: 'act.py', name: 'Act' };
const make = (options: object) =>
  workflow('w', { module: __filename }).stage('act', options as unknown as StageOptions<'request'>);

void t.test('its spec is JSON, and the same when it is read back', async (t) => {
  const whole = { ...python, interpreter: '/opt/python', env: { OMP_NUM_THREADS: '1' } };
  const { spec, ...built } = { spec: make({ python: whole, batch: { size: 4 } }).spec, built: make({ python }) };
  t.same(spec.stages[0]!.python, whole);
  t.same(checkSpec(JSON.parse(JSON.stringify(spec))), spec);
  t.same(built.built.code('act'), {});
  t.throws(() => built.built.handler('act'), { code: 'RDMA_ERR_INVALID_ARGUMENT', message: /is in Python/ });
});

void t.test('a wrong field is refused by its name', async (t) => {
  const wrong: readonly [object, RegExp][] = [
    [{ python: 'act.py' }, /python of stage act/],
    [{ python: { name: 'Act' } }, /python\.file/],
    [{ python: { file: '', name: 'Act' } }, /python\.file/],
    [{ python: { file: 'a\0b', name: 'Act' } }, /python\.file/],
    [{ python: { file: 'act.py' } }, /python\.name/],
    [{ python: { file: 'act.py', name: 'a.b' } }, /python\.name/],
    [{ python: { ...python, interpreter: 7 } }, /python\.interpreter/],
    [{ python: { ...python, env: { 'A=B': 'c' } } }, /python\.env/],
    [{ python: { ...python, env: { A: 1 } } }, /python\.env\.A/],
    [{ python, handler: () => ({}) }, /a handler or is in Python, not both/],
    [{ python, batch: { size: 2, key: () => 1 } }, /no batch\.key/],
    [{ python, maxPieces: 2 }, /neither stream a stage nor publish pieces/],
  ];
  for (const [options, message] of wrong) {
    t.throws(() => make(options), { code: 'RDMA_ERR_INVALID_ARGUMENT', message }, String(message));
  }
  const publisher = workflow('w', { module: __filename }).stage('pieces', { maxPieces: 4, handler: () => ({}) });
  t.throws(() => publisher.stage('act', { after: ['pieces'], python }), { message: /which publishes pieces/ });
});
