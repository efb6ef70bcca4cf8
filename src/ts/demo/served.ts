// The demo as a service: the same stages behind one that reads the picture as it was sent.
//
// Invariant: what can be found wrong about a request is found before it costs anything; the bytes of a clip are those
// that `onepiece demo` makes of the same picture and order.
import * as v from 'valibot';
import { RdmaError } from '../core/errors.js';
import { REQUEST, type RequestCost, type Parts, tensor, workflow } from '../pipeline/index.js';
import { LATENT_CHANNELS } from './basis.js';
import { DemoError } from './errors.js';
import { MOTION_WIDTH } from './motion.js';
import { checkPicture, decodePicture } from './picture.js';
import { MAX_PROMPT_UNITS } from './text-encode.js';
import { encodeOrder, encodePixels, imageToVideo, type Order } from './workflow.js';

/** The largest clips that are made: the longer side in pixels, and frames. */
export const MAX_SERVED_SIDE = 512;
export const MAX_SERVED_FRAMES = 96;
/** The largest picture file. */
const MAX_SERVED_PICTURE_BYTES = 32 * 2 ** 20;

const whole = (min: number, max: number, otherwise: number) =>
  v.optional(v.pipe(v.number(), v.integer(), v.minValue(min), v.maxValue(max)), otherwise);

/** What a client may say, with what is meant when it does not. */
const ServedOrder = v.object({
  prompt: v.optional(v.pipe(v.string(), v.maxLength(MAX_PROMPT_UNITS)), ''),
  frames: whole(1, MAX_SERVED_FRAMES, 24),
  steps: whole(1, 200, 12),
  seed: whole(0, Number.MAX_SAFE_INTEGER, 1),
  fps: whole(1, 50, 12),
  format: v.optional(v.picklist(['webp', 'gif']), 'webp'),
  size: whole(64, MAX_SERVED_SIDE, 320),
});

const rawBytes = MAX_SERVED_SIDE * MAX_SERVED_SIDE * 3 * MAX_SERVED_FRAMES;
const latentBytes = (MAX_SERVED_SIDE / 8) ** 2 * LATENT_CHANNELS * 4;

/** The workflow that `onepiece serve demo` serves. */
export const servedImageToVideo = workflow('image-to-video', {
  module: __filename,
  maxRequestBytes: MAX_SERVED_PICTURE_BYTES,
})
  .stage('picture', {
    maxOutputBytes: MAX_SERVED_SIDE * MAX_SERVED_SIDE * 3 + 64 * 1024,
    handler: async (task) => {
      const input = task.input(REQUEST);
      const { size, ...order } = v.parse(ServedOrder, input.meta);
      const file = input.parts.picture?.data;
      if (!(file instanceof Uint8Array)) throw new Error('the request has no part picture');
      const { buffer, byteOffset, byteLength } = file;
      const picture = await decodePicture('the picture', Buffer.from(buffer, byteOffset, byteLength), { size });
      const { width, height, pixels } = picture;
      return { meta: order satisfies Order, parts: { pixels: tensor('u8', [height, width, 3], pixels) } };
    },
  })
  .stage('text-encode', { after: ['picture'], handler: (task) => encodeOrder(task.input('picture')) })
  .stage('image-encode', {
    after: ['picture'],
    maxOutputBytes: latentBytes + 1024,
    handler: (task) => encodePixels(task.input('picture')),
  })
  .stage('diffuse', {
    after: ['text-encode', 'image-encode'],
    instances: 2,
    spread: 'shard',
    handler: imageToVideo.handler('diffuse'),
    maxOutputBytes: Math.ceil(MAX_SERVED_FRAMES / 2) * (latentBytes + MOTION_WIDTH * 4) + 4096,
  })
  .stage('decode', {
    after: ['diffuse'],
    maxOutputBytes: rawBytes + 4096,
    handler: imageToVideo.handler('decode'),
  })
  .stage('assemble', {
    after: ['decode'],
    maxOutputBytes: Math.ceil(rawBytes * 1.25) + MAX_SERVED_FRAMES * 1024 + 64 * 1024,
    handler: async (task) => {
      const output = await imageToVideo.handler('assemble')(task);
      return { ...output, meta: { ...output.meta, media: { clip: `image/${String(output.meta?.format)}` } } };
    },
  });

/**
 * Looks at a request before it becomes a job.
 *
 * @param request `meta` is an order, everything in it optional; `parts.picture` the bytes of a JPEG, PNG or WebP
 * @returns the same with every default, and what it costs: frames times steps, in thousands of pixels
 * @throws RdmaError RDMA_ERR_INVALID_ARGUMENT saying what is wrong
 */
export function prepareImageToVideo(request: { meta: Record<string, unknown>; parts: Parts }): {
  meta: Record<string, unknown>;
  parts: Parts;
  cost: RequestCost;
} {
  const { media: _, ...given } = request.meta;
  const order = v.safeParse(v.strictObject(ServedOrder.entries), given);
  if (!order.success) {
    const [issue] = order.issues;
    const field = issue.path?.map(({ key }) => String(key)).join('.') ?? 'meta';
    throw new RdmaError('RDMA_ERR_INVALID_ARGUMENT', `meta.${field}: ${issue.message}`, {
      remedy: `meta may have ${Object.keys(ServedOrder.entries).join(', ')}`,
    });
  }
  const { picture, ...others } = request.parts;
  const [other] = Object.keys(others);
  if (!(picture?.data instanceof Uint8Array) || other !== undefined) {
    const words = other === undefined ? 'there is no part picture' : `there is a part ${other.slice(0, 64)}`;
    throw new RdmaError('RDMA_ERR_INVALID_ARGUMENT', words, {
      remedy: 'send one picture, under the name picture: a JPEG, PNG or WebP',
    });
  }
  try {
    const { buffer, byteOffset, byteLength } = picture.data;
    checkPicture('the picture', Buffer.from(buffer, byteOffset, byteLength));
  } catch (cause) {
    if (!(cause instanceof DemoError)) throw cause;
    throw new RdmaError('RDMA_ERR_INVALID_ARGUMENT', cause.message, { cause });
  }
  const { frames, steps, size } = order.output;
  const units = (frames * steps * size * size) / 1000;
  return { meta: order.output, parts: request.parts, cost: { class: 'clip', units } };
}
