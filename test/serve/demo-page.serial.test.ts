// Proves in a real browser: a picture and a prompt become a clip on the demo's page, by keyboard too; a mistake and a
// cancel are said; nothing is asked of another origin, and nothing sticks out on a phone. And over HTTP: the clip is
// the bytes that `onepiece demo` writes, and wrong orders are refused before they cost anything.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Browser, Page } from 'playwright-core';
import t from 'tap';
import { loadService } from '../../src/ts/serve/index.js';
import { noBrowser, openBrowser } from '../browser.js';
import { onepiece, PHOTO, scratch } from '../cli/command.js';
import { serving, until } from './support.js';

const photo = new Blob([readFileSync(PHOTO)], { type: 'image/jpeg' });

function order(meta: object, picture: Blob | null = photo, name = 'picture'): RequestInit {
  const form = new FormData();
  form.append('meta', JSON.stringify(meta));
  if (picture !== null) form.append(name, picture, 'photo.jpg');
  return { method: 'POST', body: form };
}

void t.test('the demo', async (t) => {
  const { ask, url } = await serving(t, {}, {}, await loadService('demo'));

  await t.test('the clip is that of the command line', async (t) => {
    const folder = scratch();
    const small = ['--frames', '3', '--steps', '2', '--size', '96', '--prompt', 'rain'];
    const ended = await onepiece(['demo', PHOTO, '-o', 'clip.webp', ...small], folder);
    t.equal(ended.code, 0, ended.stderr);
    const clip = await ask('/v1/run?output=assemble/clip', order({ frames: 3, steps: 2, size: 96, prompt: 'rain' }));
    t.equal(clip.headers.get('content-type'), 'image/webp');
    t.ok(clip.body.equals(readFileSync(join(folder, 'clip.webp'))));
  });

  await t.test('wrong orders are refused before they cost anything', async (t) => {
    const cases: [RequestInit, RegExp][] = [
      [order({ frames: 0 }), /meta\.frames/],
      [order({ size: 4096 }), /meta\.size/],
      [order({ prompt: 7 }), /meta\.prompt/],
      [order({ colour: 'red' }), /colour/],
      [order({}, null), /no part picture/],
      [order({}, photo, 'image'), /no part picture|a part image/],
      [order({}, new Blob(['GIF89a'], { type: 'image/gif' })), /GIF: convert it/],
      [order({}, new Blob([], { type: 'image/jpeg' })), /empty/],
    ];
    const before = (await ask('/v1/jobs')).json().jobs.length;
    for (const [init, words] of cases) {
      const answer = await ask('/v1/jobs', init);
      t.equal(answer.status, 400, String(words));
      t.match(answer.problem(), { code: 'RDMA_ERR_INVALID_ARGUMENT', detail: words });
    }
    t.equal((await ask('/v1/jobs')).json().jobs.length, before);
  });

  await t.test('the page', { skip: noBrowser }, async (t) => {
    const browser = await openBrowser(t);
    const inks = new Set<string>();
    for (const colorScheme of ['light', 'dark'] as const) {
      for (const width of [1200, 360]) {
        await t.test(`${colorScheme}, ${width} wide`, async (t) => {
          const { page, heard, asked } = await open(browser, url, { colorScheme, viewport: { width, height: 900 } });
          t.equal((await page.locator('#stages li').allTextContents()).length, 6);
          await page.setInputFiles('#picture', PHOTO);
          await page.fill('#prompt', '<b>rain</b>');
          for (const [field, value] of [
            ['#frames', '3'],
            ['#steps', '2'],
            ['#size', '96'],
          ] as const)
            await page.fill(field, value);
          // By keyboard, from the last field.
          await page.locator('#seed').press('Tab');
          await page.keyboard.press('Enter');
          await page.waitForSelector('#result:not([hidden])', { timeout: 60_000 });
          t.equal(await page.textContent('#message'), 'Done.');
          t.ok(await page.evaluate("document.getElementById('clip').naturalWidth === 96"));
          t.equal(await page.locator('li.done').count(), 6);
          t.equal(await page.evaluate('document.activeElement.id'), 'result-title');
          t.ok(await page.evaluate('document.documentElement.scrollWidth <= innerWidth'), 'nothing sticks out');
          t.ok(
            await page.evaluate(`[...document.querySelectorAll('form *, section *')].every((each) => {
              const box = each.getBoundingClientRect();
              return box.width <= 1 || box.right <= each.closest('form, section').getBoundingClientRect().right;
            })`),
            'nothing leaves its frame',
          );
          t.equal(await page.locator('#result b').count(), 0);
          inks.add(await page.evaluate<string>('getComputedStyle(document.body).color'));
          t.strictSame(heard, []);
          t.ok(
            asked.every((each) => each.startsWith(url) || /^(blob|data):/.test(each)),
            asked.join(' '),
          );
          await page.context().close();
        });
      }
    }
    t.equal(inks.size, 2, 'light and dark differ');

    await t.test('mistakes and cancels are said', async (t) => {
      const { page, heard } = await open(browser, url, { viewport: { width: 800, height: 900 } });
      await page.click('#make');
      t.match(await page.textContent('#message'), /Choose a picture/);
      await page.setInputFiles('#picture', { name: 'x.gif', mimeType: 'image/gif', buffer: Buffer.from('GIF89a') });
      t.match(await page.textContent('#message'), /x\.gif is no JPEG/);
      await page.setInputFiles('#picture', { name: 'x.jpg', mimeType: 'image/jpeg', buffer: Buffer.from('not one') });
      await page.fill('#frames', '97');
      await page.click('#make');
      t.match(await page.textContent('#message'), /Frames: /);
      await page.fill('#frames', '96');
      await page.click('#make');
      await until('the refusal', async () =>
        /is not a picture.*RDMA_ERR_INVALID_ARGUMENT/.test((await page.textContent('#message'))!),
      );
      heard.length = 0; // the browser tells of the 400
      await page.setInputFiles('#picture', PHOTO);
      await page.fill('#steps', '200');
      await page.fill('#size', '512');
      await page.click('#make');
      await page.waitForSelector('li.running');
      await page.click('#cancel');
      await until('the cancel', async () => /RDMA_ERR_CANCELLED/.test((await page.textContent('#message'))!));
      t.ok(await page.isEnabled('#make'));
      const { jobs } = (await ask('/v1/jobs?state=cancelled')).json();
      t.equal(jobs.length, 1);
    });
  });
});

async function open(
  browser: Browser,
  url: string,
  options: Parameters<Browser['newContext']>[0],
): Promise<{ page: Page; heard: string[]; asked: string[] }> {
  const page = await (await browser.newContext(options)).newPage();
  const heard: string[] = [];
  const asked: string[] = [];
  page.on('console', (message) => heard.push(message.text()));
  page.on('pageerror', (error) => heard.push(error.message));
  page.on('request', (request) => asked.push(request.url()));
  await page.goto(`${url}/demo`);
  await page.waitForSelector('html[data-ready]');
  return { page, heard, asked };
}
