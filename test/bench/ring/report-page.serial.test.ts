// Proves: in a real browser the page draws its charts, light and dark, on a desk and on a phone, says nothing on the
// console and asks nobody for anything; and text in it is never markup.
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import type { Browser } from 'playwright-core';
import t from 'tap';
import { report } from '../../../src/ts/bench/kit/report.js';
import { type RingDocument, reportPage } from '../../../src/ts/bench/ring/report-page.js';
import { compareResults, emptyResult, NO_LATENCY, type RingResult } from '../../../src/ts/bench/ring/result.js';
import { onepiece, scratch } from '../../cli/command.js';
import { noBrowser, openBrowser } from '../../browser.js';

/** Runs in the page: how many colours each chart shows. */
const LOOK_AT_CHARTS = `[...document.querySelectorAll('canvas')].map((canvas) => {
  const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
  const colors = new Set();
  for (let i = 0; i < data.length; i += 4) {
    if (data[i + 3] > 200) colors.add((data[i] << 16) | (data[i + 1] << 8) | data[i + 2]);
  }
  return { colors: colors.size, width: canvas.clientWidth, height: canvas.clientHeight };
})`;
const folder = scratch();
const HOSTILE = '</script><img src=x onerror=alert(1)><script>alert(2)</script>';
const occasion = { version: '1.2.3', command: `onepiece ${HOSTILE}`, takenAt: new Date(0) };

function sample(): RingDocument {
  const latency = (us: number) => ({ ...NO_LATENCY, p50: us, p99: 2 * us, p999: 5 * us, max: 9 * us });
  const subjects = [
    { device: 'soft0', peer: null, way: 'copy', us: 1 },
    { device: 'soft0', peer: null, way: 'in-place', us: 0.7 },
    { device: 'x', peer: 'unix', way: null, us: 40 },
    { device: 'x', peer: HOSTILE, way: null, us: 90 },
  ] as const;
  const results: RingResult[] = [];
  for (const { us, ...subject } of subjects) {
    for (const size of [64, 4096, 2 ** 20]) {
      const read = subject.peer === 'unix' ? NO_LATENCY : latency(us + size / 1e4);
      results.push({ ...emptyResult('ring-lat', subject, size), latencyUs: latency(us), touchedUs: read });
      results.push({
        ...emptyResult('ring-bw', subject, size),
        gigabytesPerSecond: 1 / us,
        touchedGigabytesPerSecond: 1,
      });
    }
    const messagesPerSecond = 1e6 / us;
    results.push({ ...emptyResult('ring-rate', subject, 64), messagesPerSecond });
    results.push({ ...emptyResult('ring-fan-in', subject, 64), messagesPerSecond, producers: 8, jainFairness: 0.9 });
  }
  const failures = [{ peer: 'nats', test: 'ring-bw', sizeBytes: 64, reason: HOSTILE }];
  return { ...report(results), peers: { unix: HOSTILE }, comparisons: compareResults(results), failures };
}

void t.test('foreign text cannot end the script that contains it', async (t) => {
  const page = reportPage(sample(), occasion);
  t.notMatch(page, /<img/);
  t.equal(page.match(/<\/script>/g)!.length, 3);
  t.notMatch(page, /(src|href)=["']?http/);
  t.match(page, /Leon Sorokin/);
});

void t.test('the page is drawn by a browser', { skip: noBrowser }, async (t) => {
  const browser = await openBrowser(t);
  const file = join(folder, 'sample.html');
  writeFileSync(file, reportPage(sample(), occasion));
  const screens = [
    { viewport: { width: 1200, height: 900 }, colorScheme: 'light' },
    { viewport: { width: 1200, height: 900 }, colorScheme: 'dark' },
    { viewport: { width: 390, height: 844 }, colorScheme: 'light', isMobile: true, hasTouch: true },
  ] as const;
  const inks = new Set<string>();
  for (const screen of screens) {
    const { heard, asked, page, close } = await openPage(browser, file, screen);
    const { width, height } = screen.viewport;
    await t.test(`${screen.colorScheme}, ${width} x ${height}`, async (t) => {
      t.equal(await page.evaluate('document.documentElement.dataset.drawn'), '8');
      const drawn = await page.evaluate<{ colors: number; width: number; height: number }[]>(LOOK_AT_CHARTS);
      t.equal(drawn.length, 8);
      for (const { colors, width, height } of drawn) t.ok(colors > 10 && width > 200 && height > 200, `${colors}`);
      t.ok(await page.evaluate('document.documentElement.scrollWidth <= innerWidth'), 'nothing sticks out');
      t.equal(await page.locator('.bar').count(), 8);
      t.equal(await page.locator('img').count(), 0);
      inks.add(await page.evaluate<string>('getComputedStyle(document.body).color'));
      // A subject that is switched off, and the figures at the pointer.
      const before = await page.locator('canvas').first().screenshot();
      await page.getByRole('button', { name: 'onepiece, copy' }).click();
      t.notSame(await page.locator('canvas').first().screenshot(), before);
      const box = (await page.locator('.u-over').first().boundingBox())!;
      await page.mouse.move(box.x + box.width / 2, box.y + box.height / 2);
      t.match(await page.locator('.tip').first().textContent(), /^4 KiB: onepiece, in-place 0\.7 · unix 40/);
      t.strictSame(heard, []);
      t.strictSame(asked, [pathToFileURL(file).href]);
    });
    await close();
  }
  t.equal(inks.size, 2, 'light and dark differ');
});

void t.test('--report writes the page of its run', { skip: noBrowser }, async (t) => {
  const ended = await onepiece(
    ['bench', 'ring-lat', '--size', '64,4k', '--iterations', '50', '--report', 'r.html'],
    folder,
  );
  t.equal(ended.code, 0, ended.stderr);
  t.match(ended.stdout, /ring-lat +64 B/);
  const file = join(folder, 'r.html');
  t.match(readFileSync(file, 'utf8'), /"sizeBytes":4096/);
  const browser = await openBrowser(t);
  const { heard, asked, page } = await openPage(browser, file, { viewport: { width: 800, height: 600 } });
  t.equal(await page.evaluate('document.documentElement.dataset.drawn'), '6');
  t.strictSame(heard, []);
  t.equal(asked.length, 1);
});

async function openPage(browser: Browser, file: string, options: Parameters<Browser['newContext']>[0]) {
  const context = await browser.newContext(options);
  const page = await context.newPage();
  const heard: string[] = [];
  const asked: string[] = [];
  page.on('console', (message) => heard.push(message.text()));
  page.on('pageerror', (error) => heard.push(error.message));
  page.on('request', (request) => asked.push(request.url()));
  await page.goto(pathToFileURL(file).href);
  return { heard, asked, page, close: () => context.close() };
}
