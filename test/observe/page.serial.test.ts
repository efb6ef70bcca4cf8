// Proves: in a real browser the dashboard shows what the server tells, live, light and dark, on a desk and on a phone;
// it says nothing on the console and asks nobody else for anything; it can be used by keyboard and says changes of
// state to a screen reader; a server that goes away, and one that wants a token, are shown; text from elsewhere is
// never markup.
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import Fastify, { type FastifyInstance } from 'fastify';
import type { Browser, Page } from 'playwright-core';
import t from 'tap';
import { Observer, observePlugin } from '../../src/ts/observe/index.js';
import { RdmaError, type Trace } from '../../src/ts/pipeline/index.js';
import { noBrowser, openBrowser } from '../browser.js';
import { brokenPlace, type Scene, ScenePipeline } from './support.js';

const HOSTILE = '<img src=x onerror=alert(1)>';
const LIMIT_MS = 30_000;
/** Where screenshots go; without it there are none. */
const SHOTS = process.env.ONEPIECE_TEST_SCREENSHOTS;

const TRACE: Trace = {
  tasks: [{ stage: 'decode', instance: 1, queueUs: 4000, computeUs: 20_000 }],
  hops: [
    { from: 'request', fromInstance: 0, to: 'decode', toInstance: 1, bytes: 8, us: 500 },
    { from: 'decode', fromInstance: 1, to: 'result', toInstance: 0, bytes: 8, us: 300 },
  ],
};

interface Served {
  url: string;
  pipeline: ScenePipeline;
  set: (scene: Scene) => void;
  stop: () => Promise<void>;
  restart: () => Promise<void>;
}

async function serve(
  t: { teardown: (work: () => Promise<void>) => void },
  first: Scene,
  token?: string,
): Promise<Served> {
  let scene = first;
  const pipeline = new ScenePipeline(() => scene);
  let app: FastifyInstance;
  let observer: Observer;
  const begin = async (port: number) => {
    observer = Observer.attach(pipeline, { intervalMs: 200 });
    app = Fastify({ forceCloseConnections: true });
    app.addHook('onRequest', async (request, reply) => {
      const isPage = request.url === '/';
      if (token !== undefined && !isPage && request.headers.authorization !== `Bearer ${token}`) {
        return reply.code(401).send({ code: 'RDMA_ERR_UNAUTHENTICATED' });
      }
    });
    await app.register(observePlugin(observer));
    await app.listen({ port, host: '127.0.0.1' });
  };
  const end = async () => {
    observer.close();
    await app.close();
  };
  await begin(0);
  const { port } = app!.server.address() as { port: number };
  t.teardown(end);
  return {
    url: `http://127.0.0.1:${port}/`,
    pipeline,
    set: (next) => {
      scene = next;
    },
    stop: end,
    restart: () => begin(port),
  };
}

async function openPage(browser: Browser, url: string, options: Parameters<Browser['newContext']>[0] = {}) {
  const context = await browser.newContext(options);
  const page = await context.newPage();
  page.setDefaultTimeout(LIMIT_MS);
  const heard: string[] = [];
  const asked = new Set<string>();
  page.on('console', (message) => heard.push(message.text()));
  page.on('pageerror', (error) => heard.push(error.message));
  page.on('request', (request) => asked.add(request.url()));
  await page.goto(url);
  return { context, page, heard, asked };
}

/** Waits until something is so. The policy of the page lets no text become code in it, so it is asked from outside. */
async function hold(page: Page, condition: string): Promise<void> {
  const end = performance.now() + LIMIT_MS;
  while (!(await page.evaluate<boolean>(condition))) {
    if (performance.now() > end) throw new Error(`never so: ${condition}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

const drawn = (page: Page) => hold(page, 'document.documentElement.dataset.drawn !== undefined');

async function shoot(page: Page, name: string): Promise<void> {
  if (SHOTS === undefined) return;
  mkdirSync(SHOTS, { recursive: true });
  await page.screenshot({ path: join(SHOTS, `${name}.png`), fullPage: true });
}

async function playSome({ pipeline }: Served): Promise<void> {
  for (let n = 0; n < 5; n++) {
    await pipeline.run({ tenant: HOSTILE }, async () => {
      await new Promise((resolve) => setTimeout(resolve, 30));
      return { request: `r-${n}`, outputs: [], trace: TRACE, expectedMs: undefined, release: () => {} };
    });
  }
  const error = new RdmaError('RDMA_ERR_REJECTED', HOSTILE, { stage: 'decode' });
  await pipeline.run({}, () => Promise.reject(error)).catch(() => {});
}

void t.test('the dashboard', { skip: noBrowser }, async (t) => {
  const browser = await openBrowser(t);

  const screens = [
    { viewport: { width: 1600, height: 1000 }, colorScheme: 'light' },
    { viewport: { width: 1600, height: 1000 }, colorScheme: 'dark' },
    { viewport: { width: 900, height: 1000 }, colorScheme: 'dark' },
    { viewport: { width: 360, height: 800 }, colorScheme: 'light', isMobile: true, hasTouch: true },
  ] as const;
  const inks = new Set<string>();
  for (const screen of screens) {
    const { width } = screen.viewport;
    await t.test(`${screen.colorScheme}, ${width} pixels wide`, async (t) => {
      const served = await serve(t, { places: { 'decode/1': { tasks: 7, computeUs: [20_000] } }, inFlight: 3 });
      await playSome(served);
      const { context, page, heard, asked } = await openPage(browser, served.url, screen);
      await drawn(page);
      await hold(page, "[...document.querySelectorAll('canvas')].length === 3");
      t.equal(await page.locator('svg a.stage').count(), 5);
      t.equal(await page.locator('svg .edge').count(), 8);
      t.equal(await page.locator('svg .dot').count(), 11);
      t.match(await page.locator('#stage-decode').textContent(), /decode3 ready/);
      t.match(await page.locator('table.requests').textContent(), /r-4.*r-0/);
      t.equal(await page.locator('.segment.compute').count(), 5);
      t.equal(await page.locator('img').count(), 0, 'no markup of others');
      t.match(await page.textContent('main'), /<img src=x/);
      t.ok(await page.evaluate('document.documentElement.scrollWidth <= innerWidth'), 'nothing sticks out');
      inks.add(await page.evaluate<string>('getComputedStyle(document.body).color'));
      await shoot(page, `dashboard-${width}-${screen.colorScheme}`);
      t.strictSame(heard, []);
      t.strictSame([...asked].sort(), [served.url, `${served.url}v1/status/events`]);
      await context.close();
    });
  }
  t.equal(inks.size, 2, 'light and dark differ');

  await t.test('states are words and shapes, change live, and are said to a screen reader', async (t) => {
    const served = await serve(t, {});
    const { context, page } = await openPage(browser, served.url, { viewport: { width: 1200, height: 900 } });
    await drawn(page);
    const live = page.locator('[role=status]');
    t.match(await live.textContent(), /image-to-video is ready/);
    served.set({
      conditions: {
        'decode/0': brokenPlace('no such model'),
        'text-encode/0': { state: 'starting' },
      },
      silent: ['diffuse/2'],
    });
    await hold(page, "document.querySelector('[role=status]').textContent.includes('down')");
    t.match(await live.textContent(), /stage decode: 1 of 3 broken/);
    t.match(await page.locator('#stage-diffuse').textContent(), /1 of 4 hung/);
    t.match(await page.locator('tr.instance.broken').textContent(), /decode\/0broken: .*no such model/);
    t.strictSame(
      await page
        .locator('svg .dot .mark')
        .evaluateAll((marks) => marks.map((mark) => mark.textContent).filter(Boolean)),
      ['…', '!', '×'],
    );
    t.match(await page.title(), /^down: /);
    await shoot(page, 'dashboard-broken');
    served.set({});
    await hold(page, "document.querySelector('[role=status]').textContent.includes('is ready')");
    await context.close();
  });

  await t.test('by keyboard: to a stage, its row, a timeline, and to a halt', async (t) => {
    const served = await serve(t, {});
    await playSome(served);
    const { context, page } = await openPage(browser, served.url, { viewport: { width: 1200, height: 900 } });
    await drawn(page);
    await page.keyboard.press('Tab');
    t.equal(await page.evaluate('document.activeElement.className'), 'skip');
    await page.keyboard.press('Tab');
    t.equal(await page.evaluate('document.activeElement.textContent'), 'Pause');
    await page.locator('svg a.stage').nth(3).focus();
    await page.keyboard.press('Enter');
    t.equal(await page.evaluate('document.activeElement.id'), 'stage-decode');
    const bar = page.locator('button.bar').first();
    await bar.focus();
    const name = await bar.getAttribute('aria-controls');
    await page.keyboard.press('Enter');
    t.equal(await bar.getAttribute('aria-expanded'), 'true');
    t.match(await page.locator(`#${name}`).textContent(), /decode\/1 \(compute\)20\.0.ms from/);
    // Updates leave what is open, and the focus, where they are.
    const before = await page.evaluate('document.documentElement.dataset.drawn');
    await hold(page, `document.documentElement.dataset.drawn !== ${JSON.stringify(before)}`);
    t.equal(await page.locator(`#${name}`).isVisible(), true);
    t.equal(await page.evaluate('document.activeElement.className'), 'bar');
    await page.keyboard.press('p');
    const halted = await page.evaluate('document.documentElement.dataset.drawn');
    const { asked } = served.pipeline;
    await hold(page, "document.querySelector('button[aria-pressed=true]') !== null");
    while (served.pipeline.asked < asked + 3) await new Promise((resolve) => setTimeout(resolve, 50));
    t.equal(await page.evaluate('document.documentElement.dataset.drawn'), halted, 'paused');
    await page.keyboard.press('p');
    await hold(page, `document.documentElement.dataset.drawn !== ${JSON.stringify(halted)}`);
    await context.close();
  });

  await t.test('everything has a name and a role', async (t) => {
    const served = await serve(t, {});
    const { context, page } = await openPage(browser, served.url, { viewport: { width: 1200, height: 900 } });
    await drawn(page);
    const nameless = await page.evaluate<
      string[]
    >(`[...document.querySelectorAll('button, a, input, [role=img], [role=region]')]
      .filter((node) => !(node.getAttribute('aria-label') || node.textContent.trim()))
      .map((node) => node.outerHTML.slice(0, 80))`);
    t.strictSame(nameless, []);
    t.equal(await page.getByRole('link', { name: /^Stage decode: all ready/ }).count(), 1);
    t.equal(await page.getByRole('table', { name: 'Stages and instances' }).count(), 1);
    t.equal(await page.getByRole('img', { name: /^Requests a second now: done/ }).count(), 1);
    t.equal(await page.getByRole('heading', { level: 1 }).textContent(), 'image-to-video');
    await context.close();
  });

  await t.test('a server that goes away is shown, and found again', async (t) => {
    const served = await serve(t, {});
    const { context, page } = await openPage(browser, served.url, { viewport: { width: 1200, height: 900 } });
    await drawn(page);
    await served.stop();
    await hold(page, "document.querySelector('.link').dataset.state === 'waiting'");
    t.match(await page.locator('.link').textContent(), /next try in \d+ s/);
    t.match(await page.locator('[role=status]').textContent(), /Not connected/);
    t.ok(await page.evaluate("document.documentElement.classList.contains('stale')"));
    await shoot(page, 'dashboard-stale');
    await served.restart();
    await hold(page, "document.querySelector('.link').dataset.state === 'live'");
    await hold(page, "!document.documentElement.classList.contains('stale')");
    await context.close();
  });

  await t.test('a server that wants a token is asked with one', async (t) => {
    const served = await serve(t, {}, 'open sesame');
    const { context, page } = await openPage(browser, served.url, { viewport: { width: 1200, height: 900 } });
    const input = page.getByLabel('Token');
    await input.fill('wrong');
    await page.keyboard.press('Enter');
    await page.getByText('The server does not accept this token.').waitFor();
    await input.fill('open sesame');
    await page.keyboard.press('Enter');
    await drawn(page);
    t.equal(await page.locator('form.token').isVisible(), false);
    t.notMatch(page.url(), /sesame/);
    await context.close();
  });
});
