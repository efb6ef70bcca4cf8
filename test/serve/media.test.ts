// Proves how a form of answer is chosen, and that nothing a browser would run is ever answered as what it is.
import t from 'tap';
import { mediaType, negotiate, partType, withMedia } from '../../src/ts/serve/media.js';

const OFFERS = ['application/json', 'multipart/form-data', 'application/x-npy'] as const;

void t.test('the offer of the highest quality is taken, among equals the first', async (t) => {
  const cases: [string | undefined, string][] = [
    [undefined, 'application/json'],
    ['*/*', 'application/json'],
    ['application/x-npy', 'application/x-npy'],
    ['application/*;q=0.2, multipart/form-data;q=0.5', 'multipart/form-data'],
    ['application/json;q=0, */*;q=0.1', 'multipart/form-data'],
    ['application/json; charset=utf-8; q=0.1, APPLICATION/X-NPY', 'application/x-npy'],
    ['text/html, */*;q=0.8', 'application/json'],
  ];
  for (const [accept, wanted] of cases) t.equal(negotiate(accept, OFFERS), wanted, String(accept));
  for (const accept of ['text/html', 'application/json;q=0', '', 'garbage', ',,,']) {
    t.throws(() => negotiate(accept, OFFERS), { code: 'RDMA_ERR_NOT_SUPPORTED', remedy: /application\/json/ });
  }
});

void t.test('a part is answered as what its stage says, unless a browser would run it', async (t) => {
  const type = (given: unknown) => partType({ media: { clip: given } }, 'clip');
  for (const good of ['image/webp', 'image/gif', 'video/mp4', 'audio/ogg', 'text/plain', 'application/json']) {
    t.equal(type(good), good);
  }
  for (const bad of [
    'text/html',
    'image/svg+xml',
    'IMAGE/SVG+XML',
    'application/javascript',
    'text/xml',
    'x',
    7,
    null,
    {},
  ]) {
    t.equal(type(bad), 'application/octet-stream', String(bad));
  }
  t.equal(type('image/png; charset=x'), 'image/png');
  t.equal(type('image/png\r\nX: 1'), 'application/octet-stream');
  t.equal(partType({}, 'clip'), 'application/octet-stream');
  t.equal(partType({ media: {} }, 'constructor'), 'application/octet-stream');
});

void t.test('media types join the metadata and overwrite nothing', async (t) => {
  t.strictSame(withMedia({ a: 1 }, {}), { a: 1 });
  t.strictSame(withMedia({ a: 1 }, { p: 'image/png' }), { a: 1, media: { p: 'image/png' } });
  t.strictSame(withMedia({ media: { p: 'x/y' } }, { p: 'image/png', q: 'a/b' }), { media: { p: 'x/y', q: 'a/b' } });
  t.throws(() => withMedia({ media: [] }, { p: 'a/b' }), { code: 'RDMA_ERR_INVALID_ARGUMENT' });
  t.throws(() => withMedia({ media: 'text' }, { p: 'a/b' }), { code: 'RDMA_ERR_INVALID_ARGUMENT' });
});

void t.test('a media type is its first two words', async (t) => {
  t.equal(mediaType('Image/PNG; a=b'), 'image/png');
  for (const bad of [undefined, '', 'image', 'image/', '/png', 'image/png x', 'a/b/c'])
    t.equal(mediaType(bad), undefined, String(bad));
});
