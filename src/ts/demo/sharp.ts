// The only door to sharp, an optional dependency. Invariant: nothing is loaded until a picture is read or a clip is
// written, sharp uses one thread and keeps no cache, and its absence is an error with a remedy.

import { DemoError } from './errors.js';

/** sharp's factory function. */
export type Sharp = typeof import('sharp');

let loaded: Promise<Sharp> | undefined;

/**
 * Loads sharp, once.
 * @param load how to load it; given by tests only
 * @throws DemoError DEMO_ERR_SHARP_MISSING when it is not installed or not for this machine.
 */
export function loadSharp(load?: () => Promise<unknown>): Promise<Sharp> {
  if (load) return open(load);
  loaded ??= open(() => import('sharp')).catch((error: unknown) => {
    loaded = undefined; // the user may install it while this process lives
    throw error;
  });
  return loaded;
}

async function open(load: () => Promise<unknown>): Promise<Sharp> {
  let module: unknown;
  try {
    module = await load();
  } catch (cause) {
    const missing = (cause as { code?: unknown } | null)?.code;
    const why =
      missing === 'ERR_MODULE_NOT_FOUND' || missing === 'MODULE_NOT_FOUND' ? 'is not installed' : 'does not load here';
    throw new DemoError(
      'DEMO_ERR_SHARP_MISSING',
      `the package sharp, which reads pictures and writes clips, ${why}: run "npm install sharp" and try again`,
      { cause },
    );
  }
  const sharp = (module as { default: Sharp }).default;
  sharp.concurrency(1);
  sharp.cache(false);
  return sharp;
}
