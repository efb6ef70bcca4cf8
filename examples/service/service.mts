// A service of your own with a pipeline inside it: HTTP in front, stages in processes behind.
//
//   node examples/service/service.mts 8080                    (Node.js 22.18 or later; else compile it with tsc)
//   curl --data-binary @photo.pgm 'localhost:8080/blur?radius=3' -o blurred.pgm
//   curl localhost:8080/health
//
// It shows what a service must get right: a request that finds no room is answered with 503 and the time to try again,
// a client that goes away cancels its work, and SIGTERM lets the work under way end. `onepiece serve` does all of that
// without a program; write one when the requests are yours.
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { LocalPipeline } from 'onepiece-rdma/cluster';
import { tensor } from 'onepiece-rdma/pipeline';
import { isRdmaError } from 'onepiece-rdma/verbs';
import { blur } from './blur.mts';
import { readPgm, writePgm } from './pgm.mts';

const MAX_BODY_BYTES = 16 * 2 ** 20;
const DEADLINE_MS = 10_000;

const pipeline = await LocalPipeline.start(blur, { maxQueued: 32 });

async function readBody(request: IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    bytes += chunk.length;
    if (bytes > MAX_BODY_BYTES) throw new RangeError(`a picture has at most ${MAX_BODY_BYTES} bytes`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

async function answerBlur(url: URL, request: IncomingMessage, response: ServerResponse): Promise<void> {
  const radius = Number(url.searchParams.get('radius') ?? 1);
  if (!Number.isInteger(radius) || radius < 0 || radius > 10) throw new RangeError('radius must be 0 to 10');
  const { rows, columns, pixels } = readPgm(await readBody(request));

  const gone = new AbortController();
  response.on('close', () => gone.abort()); // after the answer it aborts nothing
  const { outputs } = await pipeline.run(
    { meta: { radius }, parts: { picture: tensor('u8', [rows, columns], pixels) } },
    { signal: gone.signal, timeoutMs: DEADLINE_MS },
  );
  // One output from each instance, in order: their rows together are the picture.
  const parts = outputs.map(({ parts }) => parts.blurred?.data as Uint8Array);
  response.writeHead(200, { 'Content-Type': 'image/x-portable-graymap' }).end(writePgm(columns, parts));
}

function answerError(error: unknown, response: ServerResponse): void {
  const say = (status: number, words: string, headers = {}) =>
    response.writeHead(status, { 'Content-Type': 'text/plain', ...headers }).end(`${words}\n`);
  if (error instanceof RangeError) say(400, error.message);
  else if (!isRdmaError(error)) say(500, 'internal error');
  else if (error.code === 'RDMA_ERR_REJECTED')
    say(503, error.message, { 'Retry-After': Math.ceil((error.retryAfterMs ?? 1000) / 1000) });
  else if (error.code === 'RDMA_ERR_DEADLINE') say(504, error.message);
  else if (error.code === 'RDMA_ERR_CLOSED') say(503, 'shutting down');
  else say(500, error.message);
}

const server = createServer((request, response) => {
  const url = new URL(request.url ?? '/', 'http://service');
  if (request.method === 'GET' && url.pathname === '/health') {
    const { inFlight, queued } = pipeline.load;
    response.writeHead(200, { 'Content-Type': 'application/json' }).end(`${JSON.stringify({ inFlight, queued })}\n`);
  } else if (request.method === 'POST' && url.pathname === '/blur') {
    answerBlur(url, request, response).catch((error) => answerError(error, response));
  } else response.writeHead(404).end();
});

process.once('SIGTERM', () => {
  server.close(() => void pipeline.close()); // first the requests that are here, then the processes
  server.closeIdleConnections();
});

server.listen(Number(process.argv[2] ?? 8080), '127.0.0.1', () => {
  console.log(`listening on ${(server.address() as { port: number }).port}`);
});
