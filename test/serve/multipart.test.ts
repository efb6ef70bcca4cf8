// Proves that forms are read as browsers and curl write them, that the platform's own reader reads what we write, and
// that malformed forms are refused.
import fc from 'fast-check';
import t from 'tap';
import { isRdmaError } from '../../src/ts/core/errors.js';
import { decodeMultipart, encodeMultipart } from '../../src/ts/serve/multipart.js';

const TYPE = 'multipart/form-data; boundary=b';
const form = (text: string) => Buffer.from(text.replace(/\r?\n/g, '\r\n'), 'latin1');
const names = fc.string({ minLength: 1, maxLength: 12, unit: 'grapheme' }).filter((name) => !/^\s|\s$/.test(name));

void t.test('a written form is read again, by us and by the platform', async (t) => {
  const parts = fc.uniqueArray(fc.record({ name: names, content: fc.uint8Array({ maxLength: 40 }) }), {
    selector: ({ name }) => name,
    maxLength: 5,
  });
  await fc.assert(
    fc.asyncProperty(parts, async (list) => {
      const { contentType, pieces } = encodeMultipart(
        list.map(({ name, content }) => ({ name, filename: 'f', type: 'image/png', content: [content] })),
      );
      const body = Buffer.concat(pieces);
      const read = decodeMultipart(body, contentType);
      t.strictSame(
        read.map(({ name, type, filename, content }) => [name, type, filename, [...content]]),
        list.map(({ name, content }) => [name, 'image/png', 'f', [...content]]),
      );
      if (list.length === 0) return;
      const theirs = await new Response(body, { headers: { 'content-type': contentType } }).formData();
      t.strictSame(
        [...theirs.keys()],
        list.map(({ name }) => name),
      );
      for (const { name, content } of list) {
        t.strictSame([...new Uint8Array(await (theirs.get(name) as File).arrayBuffer())], [...content]);
      }
    }),
    { numRuns: 50 },
  );
});

void t.test('forms of the platform are read', async (t) => {
  const data = new FormData();
  data.append('meta', '{"a":1}');
  data.append('pic "1"\n', new Blob([Uint8Array.of(13, 10, 45, 45)], { type: 'image/webp' }), 'ü.webp');
  data.append('empty', new Blob([]), 'e');
  const response = new Response(data);
  const body = Buffer.from(await response.arrayBuffer());
  const read = decodeMultipart(body, response.headers.get('content-type')!);
  t.strictSame(
    read.map(({ name, filename, type, content }) => ({ name: name.trim(), filename, type, content: [...content] })),
    [
      { name: 'meta', filename: undefined, type: undefined, content: [...Buffer.from('{"a":1}')] },
      { name: 'pic "1"', filename: 'ü.webp', type: 'image/webp', content: [13, 10, 45, 45] },
      { name: 'empty', filename: 'e', type: 'application/octet-stream', content: [] },
    ],
  );
  t.equal(read[1]!.content.buffer, body.buffer, 'a content is a view');
});

void t.test('forms of curl are read, with its backslashes and its other headers', async (t) => {
  const body = form(
    '--b\nContent-Disposition: form-data; name="a\\"b"; filename="x\\\\y.npy"\nContent-Type: text/PLAIN; charset=utf-8\nX-Odd: 1\n\nhello\n--b--\n',
  );
  const [part] = decodeMultipart(body, 'multipart/form-data; charset=utf-8; boundary="b"');
  t.match(part, { name: 'a"b', filename: 'x\\y.npy', type: 'text/plain' });
  t.equal(Buffer.from(part!.content).toString(), 'hello');
  t.strictSame(decodeMultipart(form('--b--'), TYPE), []);
});

void t.test('a malformed form is refused with the reason', async (t) => {
  const named = 'Content-Disposition: form-data; name="a"';
  const cases: [string, RegExp, string?][] = [
    ['', /does not begin with its boundary/],
    ['preamble\n--b--', /does not begin/],
    ['--b', /is not a line/],
    ['--bb\n', /is not a line/],
    ['--b\n', /have no end/],
    [`--b\n${'x'.repeat(5000)}\n\n`, /have no end within/],
    [`--b\n${named}\n\nx`, /cut short/],
    [`--b\n${named}\n\nx\n--b`, /is not a line/],
    [`--b\n${named}\n\nx\n--b--\nmore`, /follows its end/],
    [`--b\n${named}\n\nx\n--b\n${named}\n\ny\n--b--`, /"a" twice/],
    ['--b\nContent-Disposition: attachment; name="a"\n\nx\n--b--', /not form-data/],
    ['--b\nContent-Type: text/plain\n\nx\n--b--', /not form-data/],
    ['--b\nContent-Disposition: form-data\n\nx\n--b--', /has no name/],
    ['--b\nContent-Disposition: form-data; name=""\n\nx\n--b--', /has no name/],
    ['--b\nContent-Disposition: form-data; name="a"; name="b"\n\nx\n--b--', /name twice/],
    ['--b\nContent-Disposition: form-data; name="a\n\nx\n--b--', /disposition of a part is malformed/],
    [`--b\n${named}\n${named}\n\nx\n--b--`, /two dispositions/],
    [`--b\n${named}\nContent-Transfer-Encoding: base64\n\nx\n--b--`, /encoded as "base64"/],
    [`--b\n${named}\nContent-Type: what\n\nx\n--b--`, /Content-Type that is none/],
    [`--b\n${named}\nno header\n\nx\n--b--`, /no header/],
    ['--b\nContent-Disposition: form-data; name="\xff"\n\nx\n--b--', /not UTF-8/],
    ['--b--', /names no boundary/, 'multipart/form-data'],
    ['--b--', /names no boundary/, `multipart/form-data; boundary=${'b'.repeat(71)}`],
    ['--\n--', /names no boundary/, 'multipart/form-data; boundary="\n"'],
  ];
  for (const [text, message, type = TYPE] of cases) {
    t.throws(() => decodeMultipart(form(text), type), { code: 'RDMA_ERR_INVALID_ARGUMENT', message }, String(message));
  }
  const many = Array.from({ length: 81 }, (_, i) => `--b\nContent-Disposition: form-data; name="${i}"\n\n\n`).join('');
  t.throws(() => decodeMultipart(form(`${many}--b--`), TYPE), { message: /more than 80 parts/ });
});

void t.test('no damage to a form does anything but be refused or be another form', async (t) => {
  const body = form(
    `--b\nContent-Disposition: form-data; name="a"; filename="x"\nContent-Type: image/png\n\nx\n--b--\n`,
  );
  fc.assert(
    fc.property(fc.nat({ max: body.length - 1 }), fc.nat({ max: 255 }), fc.boolean(), (at, value, cut) => {
      const damaged = cut ? body.subarray(0, at) : Buffer.from(body);
      if (!cut) damaged[at] = value;
      try {
        decodeMultipart(damaged, TYPE);
      } catch (error) {
        if (!isRdmaError(error) || error.code !== 'RDMA_ERR_INVALID_ARGUMENT') throw error;
      }
    }),
    { numRuns: 2000 },
  );
  t.pass('2000 damaged forms');
});
