// A server over real stages, and what tests ask of it. Not a test.
import { connect, type Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import type { LocalPipelineOptions } from '../../src/ts/cluster/index.js';
import type { JobEvent } from '../../src/ts/jobs/index.js';
import type { Service } from '../../src/ts/serve/index.js';
import { type ServeOptions, type Serving, serve } from '../../src/ts/serve/index.js';
import type { Problem } from '../../src/ts/serve/problem.js';
import { prepare, small } from './small.js';
import { waiting } from '../until.js';

export const LIMIT_MS = 60_000;

interface Test {
  teardown(work: () => Promise<unknown>): void;
}

export const SMALL: Service = { workflow: small, prepare, hasDemoPage: false };

/** Serves the small workflow at a free port until the test ends. */
export async function serving(
  t: Test,
  options: Partial<ServeOptions> = {},
  pipeline: LocalPipelineOptions = {},
  service: Service = SMALL,
): Promise<Serving & { ask: Ask }> {
  const served = await serve(service, { port: 0, version: '1.2.3', ...options, pipeline });
  t.teardown(() => served.close());
  return { ...served, ask: asker(served.url) };
}

export interface Answer {
  status: number;
  headers: Headers;
  body: Buffer;
  // biome-ignore lint/suspicious/noExplicitAny: documents of many forms, which the tests compare
  json: () => any;
  problem: () => Problem;
}

export type Ask = (path: string, init?: RequestInit) => Promise<Answer>;

/** Asks a server; an answer that takes longer than a minute is a failure. */
export function asker(url: string): Ask {
  return async (path, init = {}) => {
    const response = await fetch(`${url}${path}`, {
      redirect: 'manual',
      signal: AbortSignal.timeout(LIMIT_MS),
      ...init,
    });
    const body = Buffer.from(await response.arrayBuffer());
    const json = () => JSON.parse(body.toString());
    const problem = () => {
      if (response.headers.get('content-type') !== 'application/problem+json') {
        throw new Error(`no problem document: ${response.status} ${body.toString().slice(0, 200)}`);
      }
      return json() as Problem;
    };
    return { status: response.status, headers: response.headers, body, json, problem };
  };
}

/** A request as JSON. */
export function jsonRequest(meta: object, parts: object = {}, headers: Record<string, string> = {}): RequestInit {
  return {
    method: 'POST',
    headers: { 'content-type': 'application/json', ...headers },
    body: JSON.stringify({ meta, parts }),
  };
}

export const part = (dtype: string, shape: number[], data: Uint8Array) => ({
  dtype,
  shape,
  data: Buffer.from(data).toString('base64'),
});

export const until = waiting({ limitMs: LIMIT_MS, pause: () => sleep(10) });

/** A bare connection, for what no client would send. */
export async function bare(url: string): Promise<{ socket: Socket; answer: Promise<string> }> {
  const { hostname, port } = new URL(url);
  const socket = connect(Number(port), hostname);
  let text = '';
  socket.setEncoding('latin1').on('data', (chunk) => {
    text += chunk;
  });
  const answer = new Promise<string>((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error(`no end within ${LIMIT_MS} ms: ${text}`)), LIMIT_MS);
    socket.on('error', () => {});
    socket.on('close', () => {
      clearTimeout(timer);
      resolve(text);
    });
  });
  await new Promise((resolve) => socket.once('connect', resolve));
  return { socket, answer };
}

/** The events of a stream as they come. */
export async function* eventsOf(response: Response): AsyncGenerator<{ id: number; event: string; data: JobEvent }> {
  let text = '';
  const decoder = new TextDecoder();
  for await (const chunk of response.body as unknown as AsyncIterable<Uint8Array>) {
    text += decoder.decode(chunk, { stream: true });
    const blocks = text.split('\n\n');
    text = blocks.pop()!;
    for (const block of blocks) {
      const field = (name: string) => new RegExp(`^${name}: (.*)$`, 'm').exec(block)?.[1];
      const data = field('data');
      if (data !== undefined) yield { id: Number(field('id')), event: field('event') ?? '', data: JSON.parse(data) };
    }
  }
}
