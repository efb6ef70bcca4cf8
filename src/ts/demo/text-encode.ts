// Prompt to conditioning. Invariant: every UTF-16 unit of the prompt counts: words of the vocabulary move the
// controls they name, every word shapes the embedding, and the whole prompt keys the grain; so two prompts that
// differ anywhere give different clips.

import { CONTROL, CONTROL_COUNT, CONTROL_LIMITS } from './controls.js';
import { clamp } from './curves.js';
import { DemoError, invalidArgument } from './errors.js';
import { hashText, Random } from './random.js';
import { readPrompt } from './vocabulary.js';

/** Values in the embedding of one token. */
export const EMBEDDING_WIDTH = 64;
/** Most tokens in an embedding; later words still reach the controls and the first row. */
export const MAX_TOKENS = 96;
/** Longest prompt, UTF-16 units. */
export const MAX_PROMPT_UNITS = 4096;

/** What diffuse is conditioned on; two tensors and a count, so it crosses a process boundary as it is. */
export interface TextConditioning {
  /** Rows of `embedding`, 1..96: the prompt as a whole, then its first words. */
  tokens: number;
  /** [tokens, 64], each row of unit mean square. */
  embedding: Float32Array;
  /** [CONTROL_COUNT]; see controls.ts for the layout and the ranges. */
  controls: Float32Array;
}

/**
 * Encodes a prompt.
 * @param prompt any text of 0..4096 UTF-16 units; empty asks for a gentle default motion
 * @throws DemoError DEMO_ERR_INVALID_ARGUMENT when it is no string, DEMO_ERR_PROMPT_TOO_LONG when it is longer.
 */
export function encodeText(prompt: string): TextConditioning {
  if (typeof prompt !== 'string') throw invalidArgument('prompt', 'a string', prompt);
  if (prompt.length > MAX_PROMPT_UNITS) {
    throw new DemoError(
      'DEMO_ERR_PROMPT_TOO_LONG',
      `the prompt has ${prompt.length} characters, more than ${MAX_PROMPT_UNITS}: shorten it`,
    );
  }
  const words = splitWords(prompt);
  const embedding = embed(prompt, words);
  return {
    tokens: embedding.length / EMBEDDING_WIDTH,
    embedding,
    controls: control(prompt, words, embedding),
  };
}

/** The prompt's words, lower case; signs that are neither space, letter, digit nor mark are words of their own. */
export function splitWords(prompt: string): string[] {
  return (
    prompt
      .normalize('NFKC')
      .toLowerCase()
      .match(/[\p{L}\p{N}\p{M}]+|[^\s\p{L}\p{N}\p{M}]/gu) ?? []
  );
}

// Hash vectors, one round of attention with a rational kernel, rows scaled to unit mean square.
function embed(prompt: string, words: readonly string[]): Float32Array {
  const width = EMBEDDING_WIDTH;
  const tokens = Math.min(words.length + 1, MAX_TOKENS);
  const raw = new Float64Array(tokens * width);
  fillRow(raw, 0, prompt, 0x70726f6d, 0.7);
  // The first row hears every word, the ones past the last row too.
  for (let i = 0; i < words.length; i++) fillRow(raw, 0, words[i] as string, 0x776f7264, 1 / Math.sqrt(words.length));
  for (let row = 1; row < tokens; row++) {
    fillRow(raw, row, words[row - 1] as string, 0x776f7264, 1);
    fillRow(raw, row, String(row), 0x706f7369, 0.3);
  }
  scaleRows(raw, tokens);
  const mixed = new Float64Array(raw);
  for (let row = 0; row < tokens; row++) {
    for (let other = 0; other < tokens; other++) {
      if (other === row) continue;
      let dot = 0;
      for (let k = 0; k < width; k++) dot += (raw[row * width + k] as number) * (raw[other * width + k] as number);
      const likeness = dot / width; // -1..1
      const weight = (1 + likeness) / (tokens * (2 - likeness));
      for (let k = 0; k < width; k++) {
        mixed[row * width + k] = (mixed[row * width + k] as number) + weight * (raw[other * width + k] as number);
      }
    }
  }
  scaleRows(mixed, tokens);
  return Float32Array.from(mixed);
}

function fillRow(table: Float64Array, row: number, text: string, salt: number, weight: number): void {
  const random = new Random(hashText(text, salt), hashText(text, salt + 1));
  for (let k = 0; k < EMBEDDING_WIDTH; k++) {
    const at = row * EMBEDDING_WIDTH + k;
    table[at] = (table[at] as number) + weight * random.gaussian();
  }
}

function scaleRows(table: Float64Array, rows: number): void {
  for (let row = 0; row < rows; row++) {
    let sum = 0;
    for (let k = 0; k < EMBEDDING_WIDTH; k++) {
      const value = table[row * EMBEDDING_WIDTH + k] as number;
      sum += value * value;
    }
    const scale = Math.sqrt(EMBEDDING_WIDTH / Math.max(sum, 1e-12));
    for (let k = 0; k < EMBEDDING_WIDTH; k++) {
      const at = row * EMBEDDING_WIDTH + k;
      table[at] = (table[at] as number) * scale;
    }
  }
}

// Controls: what the words ask for, on top of a small lean that the embedding gives to any prompt.
function control(prompt: string, words: readonly string[], embedding: Float32Array): Float32Array {
  const controls = new Float32Array(CONTROL_COUNT);
  const asked = readPrompt(words);
  const lean = (k: number): number => clamp((embedding[k] as number) / 2, -1, 1);
  const tone = words.length === 0 ? 0 : 1;
  const amounts = new Float64Array(CONTROL_COUNT);
  amounts[CONTROL.exposure] = 0.05 * lean(0) * tone;
  amounts[CONTROL.contrast] = 0.06 * lean(1) * tone;
  amounts[CONTROL.saturation] = 0.1 * lean(2) * tone;
  amounts[CONTROL.warmth] = 0.16 * lean(3) * tone;
  amounts[CONTROL.tint] = 0.14 * lean(4) * tone;
  amounts[CONTROL.glow] = 0.25;
  amounts[CONTROL.lightX] = 0.6 * lean(5);
  amounts[CONTROL.lightY] = -0.35 + 0.25 * lean(6);
  amounts[CONTROL.lightDrift] = 0.5 * lean(7);
  amounts[CONTROL.vignette] = 0.18;
  amounts[CONTROL.grain] = 0.12;
  amounts[CONTROL.detail] = 0.08 * lean(8);
  amounts[CONTROL.parallax] = 0.5;
  amounts[CONTROL.style] = 0.3 + 0.1 * lean(9);
  amounts[CONTROL.driftX] = lean(10);
  amounts[CONTROL.driftY] = 0.6 * lean(11);
  for (let i = 0; i < CONTROL_COUNT; i++) amounts[i] = (amounts[i] as number) + (asked.amounts[i] as number);
  amounts[CONTROL.speed] = asked.speed;
  if (asked.still) {
    for (const i of [CONTROL.zoom, CONTROL.panX, CONTROL.panY, CONTROL.roll, CONTROL.shake]) amounts[i] = 0;
    amounts[CONTROL.driftX] = 0;
    amounts[CONTROL.driftY] = 0;
  } else if (!asked.moves) {
    amounts[CONTROL.zoom] = 0.35 + 0.15 * lean(12);
  }
  for (let i = 0; i < CONTROL_COUNT; i++) {
    const [low, high] = CONTROL_LIMITS[i] as readonly [number, number];
    controls[i] = clamp(amounts[i] as number, low, high);
  }
  controls[CONTROL.keyA] = hashText(prompt, 0x6b657941) >>> 8;
  controls[CONTROL.keyB] = hashText(prompt, 0x6b657942) >>> 8;
  return controls;
}
