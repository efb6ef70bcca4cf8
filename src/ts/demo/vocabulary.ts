// The words that are understood. Invariant: reading is left to right with the longest phrase first; a word means the
// same in every position, except that a degree word or a negation changes the next look and a direction completes
// the camera verb before it.

import { CONTROL, CONTROL_COUNT, type ControlName } from './controls.js';

/** What the words of a prompt ask for. */
export interface PromptReading {
  /** [CONTROL_COUNT], sums over the words; 0 where nothing was asked. */
  amounts: Float64Array;
  /** Factor, 1 when no word speaks of pace. */
  speed: number;
  /** A word asked for a camera that moves. */
  moves: boolean;
  /** A word asked for a camera that does not move. */
  still: boolean;
}

type Look = Partial<Record<ControlName, number>>;

const EVENING: Look = { warmth: 0.75, exposure: -0.1, contrast: 0.08, saturation: 0.12, glow: 0.35, vignette: 0.15 };
const SUNSET: Look = { warmth: 0.9, exposure: -0.06, contrast: 0.12, saturation: 0.22, tint: 0.15, glow: 0.45 };
const NIGHT: Look = { warmth: -0.75, exposure: -0.58, saturation: -0.1, contrast: 0.15, glow: -0.1, vignette: 0.3 };
const MORNING: Look = { warmth: 0.18, exposure: 0.1, contrast: -0.06, glow: 0.3, fog: 0.08 };
const GREY: Look = { saturation: -2, contrast: 0.15, style: -0.3 };
const FOG: Look = { fog: 0.62, saturation: -0.08 };
const MIST: Look = { fog: 0.42, saturation: -0.08 };
const SNOW: Look = { snow: 0.6, warmth: -0.2, exposure: 0.06, saturation: -0.15 };
const RAIN: Look = { rain: 0.6, warmth: -0.2, exposure: -0.14, saturation: -0.2, contrast: -0.04 };
const STORM: Look = { rain: 0.8, exposure: -0.32, warmth: -0.3, contrast: 0.2, saturation: -0.25, shake: 0.25 };
const WARM: Look = { warmth: 0.55 };
const COLD: Look = { warmth: -0.55 };
const SUNNY: Look = { exposure: 0.16, warmth: 0.2, saturation: 0.15, glow: 0.35 };
const DARK: Look = { exposure: -0.35, vignette: 0.2 };
const BRIGHT: Look = { exposure: 0.28 };
const CRISP: Look = { detail: 0.5, contrast: 0.08 };
const SOFT: Look = { detail: -0.4, contrast: -0.06, glow: 0.1 };
const VINTAGE: Look = { sepia: 0.4, grain: 0.3, saturation: -0.25, contrast: -0.08, vignette: 0.3 };
const SHAKY: Look = { shake: 0.6 };

const LOOKS: Readonly<Record<string, Look>> = {
  evening: EVENING,
  'golden hour': { ...SUNSET, exposure: 0.04 },
  golden: { warmth: 0.6, saturation: 0.1 },
  sunset: SUNSET,
  sundown: SUNSET,
  sunrise: { ...SUNSET, exposure: 0.06, tint: 0.2 },
  dawn: { ...MORNING, tint: 0.2, warmth: 0.25, exposure: -0.04 },
  dusk: { ...EVENING, warmth: 0.3, tint: 0.3, exposure: -0.25 },
  twilight: { ...NIGHT, exposure: -0.35, tint: 0.3, warmth: -0.2 },
  'blue hour': { ...NIGHT, exposure: -0.28, warmth: -0.75, saturation: 0 },
  night: NIGHT,
  nighttime: NIGHT,
  midnight: { ...NIGHT, exposure: -0.72 },
  moonlight: { ...NIGHT, exposure: -0.5, glow: 0.3 },
  moonlit: { ...NIGHT, exposure: -0.5, glow: 0.3 },
  morning: MORNING,
  noon: { exposure: 0.2, contrast: 0.15, saturation: 0.05 },
  midday: { exposure: 0.2, contrast: 0.15, saturation: 0.05 },
  daylight: BRIGHT,
  autumn: { warmth: 0.45, saturation: 0.1, tint: 0.1 },
  fall: { warmth: 0.35, saturation: 0.08 },
  winter: { warmth: -0.45, saturation: -0.2, exposure: 0.06 },
  spring: { tint: -0.12, saturation: 0.18, exposure: 0.08 },
  summer: { warmth: 0.3, saturation: 0.22, exposure: 0.1 },
  sunny: SUNNY,
  sunlight: SUNNY,
  sunshine: SUNNY,
  cloudy: { exposure: -0.08, contrast: -0.12, saturation: -0.2, warmth: -0.15 },
  overcast: { exposure: -0.1, contrast: -0.16, saturation: -0.25, warmth: -0.15 },
  warm: WARM,
  warmer: WARM,
  hot: WARM,
  orange: { warmth: 0.7 },
  amber: { warmth: 0.65 },
  candlelight: { ...EVENING, exposure: -0.2, vignette: 0.4 },
  fire: { warmth: 0.75, contrast: 0.1, tint: 0.1 },
  cold: COLD,
  colder: COLD,
  cool: { warmth: -0.4 },
  icy: { warmth: -0.6, exposure: 0.06, saturation: -0.1 },
  frozen: { warmth: -0.6, saturation: -0.15 },
  frosty: { warmth: -0.5, exposure: 0.06 },
  blue: { warmth: -0.5 },
  red: { warmth: 0.5, tint: 0.45 },
  yellow: { warmth: 0.5, tint: -0.2 },
  green: { tint: -0.6 },
  teal: { tint: -0.35, warmth: -0.35 },
  purple: { tint: 0.6, warmth: -0.2 },
  violet: { tint: 0.6, warmth: -0.25 },
  magenta: { tint: 0.75 },
  pink: { tint: 0.5, warmth: 0.2 },
  'black and white': GREY,
  'black & white': GREY,
  'b & w': GREY,
  bw: GREY,
  monochrome: GREY,
  monochromatic: GREY,
  greyscale: GREY,
  grayscale: GREY,
  colourless: GREY,
  colorless: GREY,
  noir: { ...GREY, contrast: 0.4, exposure: -0.12, vignette: 0.4, grain: 0.25 },
  sepia: { sepia: 1 },
  vintage: VINTAGE,
  retro: VINTAGE,
  'old film': { ...VINTAGE, grain: 0.5, shake: 0.15 },
  nostalgic: VINTAGE,
  grain: { grain: 0.4 },
  grainy: { grain: 0.4 },
  film: { grain: 0.2, contrast: 0.06 },
  vivid: { saturation: 0.5, contrast: 0.1 },
  vibrant: { saturation: 0.45, contrast: 0.1 },
  colourful: { saturation: 0.5 },
  colorful: { saturation: 0.5 },
  saturated: { saturation: 0.5 },
  muted: { saturation: -0.4, contrast: -0.1 },
  desaturated: { saturation: -0.55 },
  faded: { saturation: -0.3, contrast: -0.25, exposure: 0.06 },
  pastel: { saturation: -0.2, contrast: -0.25, exposure: 0.16 },
  pale: { saturation: -0.3, exposure: 0.12 },
  dark: DARK,
  darker: DARK,
  dim: { exposure: -0.25 },
  gloomy: { exposure: -0.3, saturation: -0.3, warmth: -0.15 },
  moody: { exposure: -0.2, contrast: 0.18, saturation: -0.15, vignette: 0.3 },
  shadow: { exposure: -0.12, contrast: 0.15 },
  shadows: { exposure: -0.12, contrast: 0.15 },
  bright: BRIGHT,
  brighter: BRIGHT,
  light: { glow: 0.12 },
  luminous: { exposure: 0.15, glow: 0.4 },
  glow: { glow: 0.5 },
  glowing: { glow: 0.5 },
  radiant: { exposure: 0.12, glow: 0.5 },
  dramatic: { contrast: 0.4, vignette: 0.3, glow: 0.2 },
  contrast: { contrast: 0.35 },
  'high contrast': { contrast: 0.5 },
  'low contrast': { contrast: -0.45 },
  flat: { contrast: -0.35 },
  cinematic: { contrast: 0.2, vignette: 0.3, warmth: 0.1, parallax: 0.2, grain: 0.1 },
  epic: { contrast: 0.25, glow: 0.3, parallax: 0.3 },
  dreamy: { ...SOFT, glow: 0.5, exposure: 0.08, tint: 0.12 },
  ethereal: { ...SOFT, glow: 0.5, fog: 0.2 },
  magical: { glow: 0.5, tint: 0.2, saturation: 0.15 },
  soft: SOFT,
  blurry: { detail: -0.9 },
  sharp: CRISP,
  crisp: CRISP,
  detailed: CRISP,
  vignette: { vignette: 0.5 },
  fog: FOG,
  foggy: FOG,
  mist: MIST,
  misty: MIST,
  haze: { fog: 0.32, warmth: 0.06 },
  hazy: { fog: 0.32, warmth: 0.06 },
  smoke: { fog: 0.55, saturation: -0.25 },
  smoky: { fog: 0.55, saturation: -0.25 },
  clouds: { fog: 0.15 },
  snow: SNOW,
  snowy: SNOW,
  snowing: SNOW,
  snowfall: SNOW,
  snowflakes: SNOW,
  blizzard: { ...SNOW, snow: 1, fog: 0.4, shake: 0.2 },
  rain: RAIN,
  rainy: RAIN,
  raining: RAIN,
  rainfall: RAIN,
  drizzle: { ...RAIN, rain: 0.3 },
  downpour: { ...RAIN, rain: 0.95 },
  storm: STORM,
  stormy: STORM,
  thunderstorm: STORM,
  handheld: { shake: 0.45 },
  'hand held': { shake: 0.45 },
  shaky: SHAKY,
  shake: SHAKY,
  shaking: SHAKY,
  earthquake: { shake: 1 },
  parallax: { parallax: 0.5 },
};

// Camera moves that are complete in themselves.
const MOVES: Readonly<Record<string, Look>> = {
  approach: { zoom: 0.75 },
  approaching: { zoom: 0.75 },
  closer: { zoom: 0.75 },
  'close in': { zoom: 0.8 },
  retreat: { zoom: -0.75 },
  retreating: { zoom: -0.75 },
  reveal: { zoom: -0.75 },
  rise: { panY: 0.8 },
  rises: { panY: 0.8 },
  rising: { panY: 0.8 },
  ascend: { panY: 0.8 },
  ascending: { panY: 0.8 },
  descend: { panY: -0.8 },
  descending: { panY: -0.8 },
  clockwise: { roll: 0.8 },
  counterclockwise: { roll: -0.8 },
  anticlockwise: { roll: -0.8 },
};

// Camera verbs; `alone` holds where no direction follows soon; `turns` makes left and right a roll.
interface Verb {
  readonly alone: Look;
  readonly turns: boolean;
}

const VERBS: ReadonlyMap<string, Verb> = new Map([
  ...verbs('zoom zooms zooming dolly dollies push pushes pushing', { zoom: 0.8 }),
  ...verbs('pull pulls pulling', { zoom: -0.8 }),
  ...verbs('pan pans panning', { panX: 0.8 }),
  ...verbs('tilt tilts tilting crane pedestal boom', { panY: 0.8 }),
  ...verbs('track tracks tracking truck trucking slide slides sliding glide glides gliding', { panX: 0.7 }),
  ...verbs('drift drifts drifting float floats floating', { panX: 0.35 }),
  ...verbs('fly flies flying walk walking', { zoom: 0.7 }),
  ...verbs('turn turns turning swing swings swinging', { panX: 0.7 }),
  ...verbs('roll rolls rolling rotate rotates rotating spin spins spinning', { roll: 0.7 }, true),
  ...verbs('move moves moving go goes going travel travels travelling traveling camera look looks looking', {}),
]);

function verbs(forms: string, alone: Look, turns = false): [string, Verb][] {
  return forms.split(' ').map((form) => [form, { alone, turns }]);
}

const DIRECTIONS: Readonly<Record<string, Look>> = {
  in: { zoom: 0.8 },
  into: { zoom: 0.8 },
  inward: { zoom: 0.8 },
  inwards: { zoom: 0.8 },
  forward: { zoom: 0.8 },
  forwards: { zoom: 0.8 },
  closer: { zoom: 0.8 },
  towards: { zoom: 0.8 },
  toward: { zoom: 0.8 },
  out: { zoom: -0.8 },
  outward: { zoom: -0.8 },
  outwards: { zoom: -0.8 },
  back: { zoom: -0.8 },
  backward: { zoom: -0.8 },
  backwards: { zoom: -0.8 },
  away: { zoom: -0.8 },
  left: { panX: -0.8 },
  leftward: { panX: -0.8 },
  leftwards: { panX: -0.8 },
  right: { panX: 0.8 },
  rightward: { panX: 0.8 },
  rightwards: { panX: 0.8 },
  up: { panY: 0.8 },
  upward: { panY: 0.8 },
  upwards: { panY: 0.8 },
  down: { panY: -0.8 },
  downward: { panY: -0.8 },
  downwards: { panY: -0.8 },
  clockwise: { roll: 0.8 },
  counterclockwise: { roll: -0.8 },
  anticlockwise: { roll: -0.8 },
};

const PACES: Readonly<Record<string, number>> = {
  slow: 0.55,
  slowly: 0.55,
  slower: 0.55,
  gentle: 0.6,
  gently: 0.6,
  calm: 0.6,
  calmly: 0.6,
  peaceful: 0.65,
  subtle: 0.5,
  subtly: 0.5,
  smooth: 0.85,
  smoothly: 0.85,
  quick: 1.7,
  quickly: 1.7,
  fast: 1.8,
  faster: 1.8,
  rapid: 2,
  rapidly: 2,
  swift: 1.7,
  sudden: 1.8,
  timelapse: 2.2,
  'time lapse': 2.2,
  energetic: 1.7,
};

const DEGREES: Readonly<Record<string, number>> = {
  very: 1.5,
  extremely: 1.9,
  really: 1.4,
  deeply: 1.4,
  heavy: 1.6,
  heavily: 1.6,
  dense: 1.5,
  thick: 1.5,
  strong: 1.5,
  strongly: 1.5,
  intense: 1.5,
  slightly: 0.45,
  slight: 0.45,
  somewhat: 0.6,
  faint: 0.4,
  faintly: 0.4,
  mild: 0.55,
  bit: 0.5,
  little: 0.5,
  thin: 0.5,
  less: -0.5,
};

const STILL = new Set(['static', 'still', 'motionless', 'locked', 'tripod', 'stationary', 'unmoving']);
const NEGATIONS = new Set(['no', 'not', 'without', 'never', 'non']);
const ARTICLES = new Set(['a', 'an', 'the', 'any', 'of', 'so', 'and', 'too', 'more', 'some']);
const DIRECTION_REACH = 4;
const LONGEST_PHRASE = 3;

/** Reads the words of a prompt (lower case, in order; hyphens may stand between them). */
export function readPrompt(allWords: readonly string[]): PromptReading {
  const words = allWords.filter((word) => word !== '-');
  const reading: PromptReading = { amounts: new Float64Array(CONTROL_COUNT), speed: 1, moves: false, still: false };
  let degree = 1;
  let negated = false;
  for (let i = 0; i < words.length; ) {
    const word = words[i] as string;
    if (NEGATIONS.has(word)) {
      negated = true;
      i++;
      continue;
    }
    const more = own(DEGREES, word);
    if (more !== undefined) {
      degree *= more;
      i++;
      continue;
    }
    if (ARTICLES.has(word)) {
      i++;
      continue;
    }
    i += readPhrase(words, i, negated ? -0.5 : degree, negated, reading);
    degree = 1;
    negated = false;
  }
  return reading;
}

// Reads what begins at word i; returns the number of words taken.
function readPhrase(
  words: readonly string[],
  i: number,
  degree: number,
  negated: boolean,
  reading: PromptReading,
): number {
  for (let length = LONGEST_PHRASE; length >= 1; length--) {
    if (i + length > words.length) continue;
    const phrase = length === 1 ? (words[i] as string) : words.slice(i, i + length).join(' ');
    const look = own(LOOKS, phrase);
    if (look) {
      add(reading, look, degree);
      return length;
    }
    const pace = own(PACES, phrase);
    if (pace !== undefined) {
      reading.speed *= negated ? 1 / pace : pace * (degree > 1 ? pace : 1);
      return length;
    }
    const move = own(MOVES, phrase);
    if (move) {
      if (!negated) addMove(reading, move, degree);
      return length;
    }
    const camera = VERBS.get(phrase);
    if (camera) {
      const found = direction(words, i + 1, camera.turns);
      if (negated) {
        if (Object.keys(camera.alone).length > 0) reading.still = true;
        return found ? found.next - i : length;
      }
      addMove(reading, found ? found.look : camera.alone, degree);
      if (found) return found.between ? length : found.next - i;
      return length;
    }
    if (STILL.has(phrase)) {
      if (!negated) reading.still = true;
      return length;
    }
  }
  return 1;
}

// The direction that completes a camera verb: the first within reach that no other verb claims first.
function direction(
  words: readonly string[],
  from: number,
  turns: boolean,
): { look: Look; next: number; between: boolean } | undefined {
  for (let i = from; i < Math.min(words.length, from + DIRECTION_REACH); i++) {
    const word = words[i] as string;
    if (VERBS.has(word) || word === ',' || word === '.' || word === ';') return undefined;
    const look = own(DIRECTIONS, word);
    if (look) {
      const sideways = look.panX;
      const meant: Look = turns && sideways !== undefined ? { roll: sideways } : look;
      return { look: meant, next: i + 1, between: i > from };
    }
  }
  return undefined;
}

function add(reading: PromptReading, look: Look, degree: number): void {
  for (const [name, amount] of Object.entries(look)) {
    const at = CONTROL[name as ControlName];
    reading.amounts[at] = (reading.amounts[at] as number) + amount * degree;
  }
}

function addMove(reading: PromptReading, move: Look, degree: number): void {
  if (Object.keys(move).length > 0) reading.moves = true;
  add(reading, move, degree);
}

function own<T>(table: Readonly<Record<string, T>>, key: string): T | undefined {
  return Object.hasOwn(table, key) ? table[key] : undefined;
}
