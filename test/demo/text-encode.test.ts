import t from 'tap';
import { CONTROL, CONTROL_COUNT, CONTROL_LIMITS, type ControlName } from '../../src/ts/demo/controls.js';
import { DemoError } from '../../src/ts/demo/errors.js';
import { EMBEDDING_WIDTH, encodeText, MAX_TOKENS } from '../../src/ts/demo/text-encode.js';

const get = (prompt: string, name: ControlName): number => encodeText(prompt).controls[CONTROL[name]] as number;

void t.test('words of the vocabulary move the controls they name', async (t) => {
  const cases: [string, ControlName, 'up' | 'down'][] = [
    ['slow push in', 'zoom', 'up'],
    ['zoom in', 'zoom', 'up'],
    ['move closer', 'zoom', 'up'],
    ['zoom out', 'zoom', 'down'],
    ['pull back slowly', 'zoom', 'down'],
    ['pan left', 'panX', 'down'],
    ['Pan slowly to the RIGHT', 'panX', 'up'],
    ['the camera pans left', 'panX', 'down'],
    ['tilt up', 'panY', 'up'],
    ['crane down', 'panY', 'down'],
    ['rotate left', 'roll', 'down'],
    ['handheld', 'shake', 'up'],
    ['hand-held', 'shake', 'up'],
    ['evening light', 'warmth', 'up'],
    ['golden hour', 'warmth', 'up'],
    ['cold blue morning', 'warmth', 'down'],
    ['night', 'exposure', 'down'],
    ['bright', 'exposure', 'up'],
    ['black and white', 'saturation', 'down'],
    ['black-and-white', 'saturation', 'down'],
    ['vivid', 'saturation', 'up'],
    ['dramatic', 'contrast', 'up'],
    ['fog', 'fog', 'up'],
    ['snow', 'snow', 'up'],
    ['heavy rain', 'rain', 'up'],
    ['sepia', 'sepia', 'up'],
    ['purple', 'tint', 'up'],
    ['fast', 'speed', 'up'],
    ['slowly', 'speed', 'down'],
    ['soft', 'detail', 'down'],
  ];
  for (const [prompt, name, way] of cases) {
    const change = get(prompt, name) - get('static', name);
    t.ok(way === 'up' ? change > 0.25 : change < -0.25, `${prompt}: ${name} ${way} (${change})`);
  }
});

void t.test('degree words and negations change the next word only', async (t) => {
  t.ok(get('very dense fog', 'fog') > get('fog', 'fog'));
  t.ok(get('slightly foggy', 'fog') < get('foggy', 'fog') / 2 + 0.01);
  t.equal(get('without snow', 'snow'), 0);
  t.equal(get('no rain, fog', 'rain'), 0);
  t.ok(get('no rain, fog', 'fog') > 0.5);
});

void t.test('an empty prompt asks for a gentle push in, and a static one for none', async (t) => {
  t.ok(get('', 'zoom') > 0.1 && get('', 'zoom') < 0.6);
  for (const name of ['zoom', 'panX', 'panY', 'roll', 'shake', 'driftX', 'driftY'] as const) {
    t.equal(get('static shot, zoom in', name), 0, name);
  }
});

void t.test('any text is taken, stays within the limits and repeats exactly', async (t) => {
  const prompts = [
    '',
    ' ',
    'constructor __proto__ toString hasOwnProperty',
    '夕暮れの湖、ゆっくりズーム',
    'مساء هادئ',
    '🏔️🚣‍♀️✨',
    '\ud800 lone \udc00',
    '\0\u0007\u202e',
    'fast '.repeat(800),
    'very '.repeat(800),
    '\ufdfa'.repeat(4096),
    Array.from({ length: 600 }, (_, i) => `w${i}`).join(' '),
  ];
  for (const prompt of prompts) {
    const one = encodeText(prompt.slice(0, 4096));
    const again = encodeText(prompt.slice(0, 4096));
    t.ok(Buffer.from(one.embedding.buffer).equals(Buffer.from(again.embedding.buffer)));
    t.ok(Buffer.from(one.controls.buffer).equals(Buffer.from(again.controls.buffer)));
    t.ok(one.tokens >= 1 && one.tokens <= MAX_TOKENS);
    t.equal(one.embedding.length, one.tokens * EMBEDDING_WIDTH);
    t.equal(one.controls.length, CONTROL_COUNT);
    t.ok(one.embedding.every(Number.isFinite));
    const outside = [...one.controls.keys()].filter((i) => {
      const [low, high] = CONTROL_LIMITS[i] as readonly [number, number];
      return !((one.controls[i] as number) >= low && (one.controls[i] as number) <= high);
    });
    t.same(outside, [], 'no control is out of its range');
  }
});

void t.test('prompts that differ anywhere differ in embedding and keys', async (t) => {
  const tail = 'word '.repeat(500);
  const pairs: [string, string][] = [
    ['a', 'b'],
    ['a lake', 'a  lake'],
    ['a lake', 'A lake'],
    ['red boat', 'boat red'],
    [`${tail}x`, `${tail}y`],
    ['', ' '],
  ];
  for (const [one, other] of pairs) {
    const a = encodeText(one);
    const b = encodeText(other);
    t.notOk(Buffer.from(a.embedding.buffer).equals(Buffer.from(b.embedding.buffer)));
    t.notSame(
      [a.controls[CONTROL.keyA], a.controls[CONTROL.keyB]],
      [b.controls[CONTROL.keyA], b.controls[CONTROL.keyB]],
    );
  }
});

void t.test('a prompt that is too long or no string is refused with a code', async (t) => {
  t.throws(() => encodeText('x'.repeat(4097)), {
    name: 'DemoError',
    code: 'DEMO_ERR_PROMPT_TOO_LONG',
    message: /shorten/,
  });
  t.throws(() => encodeText(7 as unknown as string), DemoError);
});
