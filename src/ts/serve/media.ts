// Media types: what a client sends, what it accepts, and what a part may be answered as.
//
// Invariant: bytes that came from a request never become a page or a script of this server: only types that a browser
// shows without running anything are answered as they are.
import { RdmaError } from '../core/errors.js';
import { badBody } from './tensor-bytes.js';
import type { Meta } from '../pipeline/index.js';

export const OCTETS = 'application/octet-stream';
export const JSON_TYPE = 'application/json';

/** In metadata: the media types of the parts by name. */
export const MEDIA_KEY = 'media';

const TOKEN = "[A-Za-z0-9!#$%&'*+.^_`|~-]{1,64}";
const MEDIA_TYPE = new RegExp(`^\\s*(${TOKEN}/${TOKEN})\\s*(?:;|$)`);
/** Not SVG and no markup. */
const SHOWABLE =
  /^(image\/(?!svg)[a-z0-9.+-]+|audio\/[a-z0-9.+-]+|video\/[a-z0-9.+-]+|text\/plain|application\/(json|pdf|octet-stream))$/;

/** The type and subtype of a Content-Type, in lower case; undefined: there is none. */
export function mediaType(header: string | undefined): string | undefined {
  return header === undefined ? undefined : MEDIA_TYPE.exec(header)?.[1]?.toLowerCase();
}

/** The type that a part is answered with, by the metadata of its output. */
export function partType(meta: Meta, part: string): string {
  const media = meta[MEDIA_KEY];
  const given =
    typeof media === 'object' && media !== null && Object.hasOwn(media, part) ? (media as Meta)[part] : undefined;
  const type = typeof given === 'string' ? mediaType(given) : undefined;
  return type !== undefined && SHOWABLE.test(type) ? type : OCTETS;
}

/**
 * Metadata that says the media types of some parts.
 *
 * @param types by name of the part; no own type is overwritten
 * @throws RdmaError RDMA_ERR_INVALID_ARGUMENT when the metadata has something else under `media`
 */
export function withMedia(meta: Meta, types: Readonly<Record<string, string>>): Meta {
  if (Object.keys(types).length === 0) return meta;
  const own = meta[MEDIA_KEY] ?? {};
  if (typeof own !== 'object' || Array.isArray(own)) {
    throw badBody('meta.media must be an object: it says the media types of the parts');
  }
  return { ...meta, [MEDIA_KEY]: { ...types, ...own } };
}

/**
 * Chooses what to answer (RFC 9110, section 12.5.1).
 *
 * @param accept the header; undefined: everything
 * @param offers types, the preferred one first
 * @throws RdmaError RDMA_ERR_NOT_SUPPORTED, with what there is, when none of them is accepted
 */
export function negotiate<const T extends string>(accept: string | undefined, offers: readonly T[]): T {
  const wanted = (accept ?? '*/*').slice(0, 1024).split(',', 32).map(parseAccept);
  let best: { offer: T; quality: number } | undefined;
  for (const offer of offers) {
    const quality = qualityOf(offer, wanted);
    if (quality > (best?.quality ?? 0)) best = { offer, quality };
  }
  if (best !== undefined) return best.offer;
  throw new RdmaError('RDMA_ERR_NOT_SUPPORTED', 'nothing that is accepted can be answered', {
    remedy: `accept one of ${offers.join(', ')}`,
  });
}

interface Wanted {
  type: string;
  quality: number;
}

function parseAccept(item: string): Wanted {
  const [type = '', ...parameters] = item.split(';');
  const given = parameters
    .map((text) => /^\s*q\s*=\s*([01](?:\.\d{0,3})?)\s*$/i.exec(text)?.[1])
    .find((q) => q !== undefined);
  return { type: type.trim().toLowerCase(), quality: given === undefined ? 1 : Math.min(Number(given), 1) };
}

// Of the ranges that cover the offer, the most exact one counts.
function qualityOf(offer: string, wanted: readonly Wanted[]): number {
  const whole = `${offer.split('/')[0]}/*`;
  for (const range of [offer, whole, '*/*']) {
    const found = wanted.find(({ type }) => type === range);
    if (found !== undefined) return found.quality;
  }
  return 0;
}
