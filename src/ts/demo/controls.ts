// The controls tensor: what a prompt asks for, in numbers. Invariant: text-encode writes every entry within its
// limits, and every other stage reads them by these names alone.

/** Index of each control in TextConditioning.controls. */
export const CONTROL = {
  /** -1 pull out .. 1 push in. */
  zoom: 0,
  /** -1 the camera goes left .. 1 right. */
  panX: 1,
  /** -1 the camera goes down .. 1 up. */
  panY: 2,
  /** -1 counter-clockwise .. 1 clockwise. */
  roll: 3,
  /** 0 on a tripod .. 1 in a shaking hand. */
  shake: 4,
  /** 0.25 very slow .. 3 very fast; 1 as usual. Scales how far the camera goes and how fast weather falls. */
  speed: 5,
  /** -1 dark .. 1 bright. */
  exposure: 6,
  /** -1 flat .. 1 hard. */
  contrast: 7,
  /** -1 grey .. 1 vivid. */
  saturation: 8,
  /** -1 blue .. 1 orange. */
  warmth: 9,
  /** -1 green .. 1 magenta. */
  tint: 10,
  /** 0 none .. 1 a brown print. */
  sepia: 11,
  /** 0 none .. 1 dense. */
  fog: 12,
  /** 0 none .. 1 a blizzard. */
  snow: 13,
  /** 0 none .. 1 a downpour. */
  rain: 14,
  /** 0 none .. 1 a strong pool of light that wanders. */
  glow: 15,
  /** Where the light begins: -1 left edge .. 1 right edge. */
  lightX: 16,
  /** -1 top edge .. 1 bottom edge. */
  lightY: 17,
  /** -1 .. 1: how far the light wanders, in half widths, to the right. */
  lightDrift: 18,
  /** 0 none .. 1 dark corners. */
  vignette: 19,
  /** 0 none .. 1 coarse film. */
  grain: 20,
  /** -1 soft .. 1 crisp. */
  detail: 21,
  /** 0 flat .. 1: how much more the foreground moves than the distance. */
  parallax: 22,
  /** 0 none .. 1: strength of the colour field that the embedding draws. */
  style: 23,
  /** -1 .. 1: slow drift of camera and fields, rightwards. */
  driftX: 24,
  /** -1 .. 1: likewise, downwards. */
  driftY: 25,
  /** 0 .. 2^24 - 1: hash of the prompt. */
  keyA: 26,
  /** 0 .. 2^24 - 1: another. */
  keyB: 27,
} as const;

/** Name of a control. */
export type ControlName = keyof typeof CONTROL;

/** Entries in the controls tensor. */
export const CONTROL_COUNT = 28;

const SIGNED = [-1, 1] as const;
const UNIT = [0, 1] as const;
const KEY = [0, 0xffffff] as const;

/** Lowest and highest value of each control, by index. */
export const CONTROL_LIMITS: readonly (readonly [number, number])[] = [
  SIGNED, // zoom
  SIGNED, // panX
  SIGNED, // panY
  SIGNED, // roll
  UNIT, // shake
  [0.25, 3], // speed
  SIGNED, // exposure
  SIGNED, // contrast
  SIGNED, // saturation
  SIGNED, // warmth
  SIGNED, // tint
  UNIT, // sepia
  UNIT, // fog
  UNIT, // snow
  UNIT, // rain
  UNIT, // glow
  SIGNED, // lightX
  SIGNED, // lightY
  SIGNED, // lightDrift
  UNIT, // vignette
  UNIT, // grain
  SIGNED, // detail
  UNIT, // parallax
  UNIT, // style
  SIGNED, // driftX
  SIGNED, // driftY
  KEY, // keyA
  KEY, // keyB
];
