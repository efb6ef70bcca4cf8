// Reads multipart/mixed as it comes, by the lengths of its parts. Not a test.
//
// Invariant: what is not as RFC 2046 and docs/serve.md say is an error.

/** One part. */
export interface MixedPart {
  type: string;
  headers: Record<string, string>;
  content: Buffer;
}

/** The parts of an answer as they come; ends behind the last boundary, and throws when that does not come. */
export async function* mixedParts(response: Response): AsyncGenerator<MixedPart> {
  const boundary = /^multipart\/mixed; boundary=(\S+)$/.exec(response.headers.get('content-type') ?? '')?.[1];
  if (boundary === undefined) throw new Error(`not multipart/mixed: ${response.headers.get('content-type')}`);
  const chunks = (response.body as unknown as AsyncIterable<Uint8Array>)[Symbol.asyncIterator]();
  let buffer = Buffer.alloc(0);
  const need = async (length: () => number) => {
    while (buffer.length < length()) {
      const { done, value } = await chunks.next();
      if (done) throw new Error(`cut after ${buffer.toString('latin1').slice(0, 100)}`);
      buffer = Buffer.concat([buffer, value]);
    }
  };
  const take = async (length: number) => {
    await need(() => length);
    const taken = buffer.subarray(0, length);
    buffer = buffer.subarray(length);
    return taken;
  };
  for (;;) {
    const mark = (await take(boundary.length + 4)).toString();
    if (mark === `--${boundary}--`) return;
    if (mark !== `--${boundary}\r\n`) throw new Error(`no boundary: ${mark}`);
    const end = () => buffer.indexOf('\r\n\r\n');
    await need(() => (end() < 0 ? buffer.length + 1 : end() + 4));
    const lines = (await take(end() + 4)).toString().trim().split('\r\n');
    const headers = Object.fromEntries(lines.map((line) => line.split(': ') as [string, string]));
    const content = await take(Number(headers['Content-Length']));
    if ((await take(2)).toString() !== '\r\n') throw new Error('no line break behind a part');
    yield { type: headers['Content-Type']!, headers, content: Buffer.from(content) };
  }
}

/** What happens, with the tensors by the names under which they come. */
export interface Told {
  // biome-ignore lint/suspicious/noExplicitAny: documents of several forms, which the tests compare
  event: any;
  tensors: Record<string, Buffer>;
}

/** The events of an answer as they come, each with its tensors. */
export async function* told(response: Response): AsyncGenerator<Told> {
  const parts = mixedParts(response);
  for await (const { type, content } of parts) {
    if (type !== 'application/json') throw new Error(`a part of ${type} is of no event`);
    const event = JSON.parse(content.toString());
    const holders = event.type === 'done' ? event.outputs : [event];
    // biome-ignore lint/suspicious/noExplicitAny: as above
    const abouts: any[] = holders.flatMap((holder: any) => Object.values(holder.parts ?? {}));
    const tensors: Record<string, Buffer> = {};
    for (const about of abouts) {
      const { value } = await parts.next();
      if (value?.headers['Content-Location'] !== about.content) throw new Error(`${about.content} is missing`);
      if (value.headers['X-Tensor-Dtype'] !== about.dtype) throw new Error('the types differ');
      if (value.content.length !== about.bytes) throw new Error('the sizes differ');
      tensors[about.content] = value.content;
    }
    yield { event, tensors };
  }
}
