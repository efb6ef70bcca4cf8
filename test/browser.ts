// The browser that looks at pages: Debian's Chromium. Not a test.
import { existsSync } from 'node:fs';
import { type Browser, chromium } from 'playwright-core';
import { lacking } from './peers/support.js';

const CHROMIUM = '/usr/bin/chromium';
const FLAGS = [
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
];

/** Why tests of pages are skipped, or false. */
export const noBrowser = lacking(() => {
  if (!existsSync(CHROMIUM)) throw new Error(`${CHROMIUM} is missing: apt-get install chromium`);
});

/** A browser that is closed with the test. */
export async function openBrowser(t: { teardown: (work: () => Promise<void>) => void }): Promise<Browser> {
  const browser = await chromium.launch({ executablePath: CHROMIUM, args: FLAGS });
  t.teardown(() => browser.close());
  return browser;
}
