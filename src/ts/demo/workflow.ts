// The demo's workflow: a picture and a prompt become a clip, in five stages.
//
// Invariant: every handler is a pure function of its inputs, so a stage that runs again after a death answers the same
// bytes. The arithmetic is procedural and needs no weights; a real model takes the place of one handler's body (see
// docs/demo.md).
import { setImmediate as turn } from 'node:timers/promises';
import * as v from 'valibot';
import { REQUEST, type StageInput, type Tensor, tensor, workflow, type WorkflowSizes } from '../pipeline/index.js';
import { assembleClip } from './assemble.js';
import { decode } from './decode.js';
import { diffusePasses } from './diffuse.js';
import { encodeImage } from './image-encode.js';
import { MOTION_WIDTH } from './motion.js';
import { EMBEDDING_WIDTH, encodeText } from './text-encode.js';

const count = v.pipe(v.number(), v.integer(), v.minValue(0));

/** What the client asks for; it travels with the request. */
const Order = v.strictObject({
  prompt: v.string(),
  frames: count,
  steps: count,
  seed: count,
  fps: count,
  format: v.picklist(['webp', 'gif']),
});
export type Order = v.InferOutput<typeof Order>;

/** What the client asks for. @throws when the metadata of the input is no order */
export function orderOf(input: StageInput): Order {
  return v.parse(Order, input.meta);
}

function part(input: StageInput, name: string): Tensor {
  const found = input.parts[name];
  if (found === undefined) throw new Error(`the input from ${input.stage} has no part ${name}`);
  return found;
}

function floats(input: StageInput, name: string): Float32Array {
  const { data } = part(input, name);
  if (!(data instanceof Float32Array)) throw new Error(`part ${name} of ${input.stage} is not f32`);
  return data;
}

function bytes(input: StageInput, name: string): Uint8Array {
  const { data } = part(input, name);
  if (!(data instanceof Uint8Array)) throw new Error(`part ${name} of ${input.stage} is not u8`);
  return data;
}

/** The frames that one of several instances refines: a share as even as possible. */
export function frameRange(frames: number, instance: number, instances: number): { first: number; count: number } {
  const first = Math.floor((frames * instance) / instances);
  return { first, count: Math.floor((frames * (instance + 1)) / instances) - first };
}

/** The work of `text-encode`. */
export function encodeOrder(input: StageInput) {
  const order = orderOf(input);
  const { tokens, embedding, controls } = encodeText(order.prompt);
  return {
    meta: order,
    parts: {
      embedding: tensor('f32', [tokens, EMBEDDING_WIDTH], embedding),
      controls: tensor('f32', [controls.length], controls),
    },
  };
}

/** The work of `image-encode`. */
export function encodePixels(input: StageInput) {
  const [height = 0, width = 0] = part(input, 'pixels').shape;
  const { latent, channels, latentWidth, latentHeight } = encodeImage(bytes(input, 'pixels'), width, height);
  return { parts: { latent: tensor('f32', [channels, latentHeight, latentWidth], latent) } };
}

export const imageToVideo = workflow('image-to-video', { module: __filename })
  .stage('text-encode', {
    handler: (task) => encodeOrder(task.input(REQUEST)),
  })
  .stage('image-encode', {
    handler: (task) => encodePixels(task.input(REQUEST)),
  })
  .stage('diffuse', {
    after: ['text-encode', 'image-encode'],
    instances: 2,
    spread: 'shard',
    handler: async (task) => {
      const text = task.input('text-encode');
      const image = task.input('image-encode');
      const order = orderOf(text);
      const [channels = 0, latentHeight = 0, latentWidth = 0] = part(image, 'latent').shape;
      const { first, count: frameCount } = frameRange(order.frames, task.instance, task.instances);
      const shape = [channels, latentHeight, latentWidth];
      if (frameCount === 0) return { meta: order, parts: clipParts(0, shape, new Float32Array(), new Float32Array()) };
      const passes = diffusePasses({
        latent: floats(image, 'latent'),
        channels,
        latentWidth,
        latentHeight,
        conditioning: {
          tokens: part(text, 'embedding').shape[0] ?? 0,
          embedding: floats(text, 'embedding'),
          controls: floats(text, 'controls'),
        },
        frames: order.frames,
        steps: order.steps,
        seed: order.seed,
        firstFrame: first,
        frameCount,
      });
      for (;;) {
        const pass = passes.next();
        if (pass.done)
          return { meta: order, parts: clipParts(frameCount, shape, pass.value.latent, pass.value.motion) };
        task.progress(pass.value / order.steps);
        // Between passes the process answers its peers, and learns that it is to end.
        await turn();
        task.signal.throwIfAborted();
      }
    },
  })
  .stage('decode', {
    after: ['diffuse'],
    handler: async (task) => {
      const shards = task.inputs('diffuse');
      const order = orderOf(shards[0]!);
      const [, channels = 0, latentHeight = 0, latentWidth = 0] = part(shards[0]!, 'latent').shape;
      const [height, width] = [latentHeight * 8, latentWidth * 8];
      const frameBytes = height * width * 3;
      const frames = new Uint8Array(order.frames * frameBytes);
      const size = channels * latentHeight * latentWidth;
      let made = 0;
      for (const shard of shards) {
        const latent = floats(shard, 'latent');
        const motion = floats(shard, 'motion');
        const shardFrames = part(shard, 'latent').shape[0] ?? 0;
        // One frame at a time, for the same reason as above.
        for (let i = 0; i < shardFrames; i++) {
          const frame = decode({
            latent: latent.subarray(i * size, (i + 1) * size),
            motion: motion.subarray(i * MOTION_WIDTH, (i + 1) * MOTION_WIDTH),
            frameCount: 1,
            channels,
            latentWidth,
            latentHeight,
          });
          frames.set(frame, made++ * frameBytes);
          task.progress(made / order.frames);
          await turn();
          task.signal.throwIfAborted();
        }
      }
      return { meta: order, parts: { frames: tensor('u8', [order.frames, height, width, 3], frames) } };
    },
  })
  .stage('assemble', {
    after: ['decode'],
    handler: async (task) => {
      const input = task.input('decode');
      const { fps, format } = orderOf(input);
      const [frameCount = 0, height = 0, width = 0] = part(input, 'frames').shape;
      const clip = await assembleClip({ frames: bytes(input, 'frames'), frameCount, width, height, fps, format });
      return {
        meta: { frames: frameCount, width, height, fps, format },
        parts: { clip: tensor('u8', [clip.length], clip) },
      };
    },
  });

function clipParts(frames: number, shape: readonly number[], latent: Float32Array, motion: Float32Array) {
  return {
    latent: tensor('f32', [frames, ...shape], latent),
    motion: tensor('f32', [frames, MOTION_WIDTH], motion),
  };
}

/** What the lanes of the demo's stages must carry for clips of this size: for `Workflow.withSizes`. */
export function clipSizes(width: number, height: number, frames: number, channels: number): WorkflowSizes {
  const latentBytes = (width / 8) * (height / 8) * channels * 4;
  const rawBytes = width * height * 3 * frames;
  return {
    request: width * height * 3 + 64 * 1024,
    stages: {
      'text-encode': 256 * 1024,
      'image-encode': latentBytes + 1024,
      diffuse: Math.ceil(frames / 2) * (latentBytes + MOTION_WIDTH * 4) + 4096,
      decode: rawBytes + 4096,
      // A compressed clip is smaller than its frames, noise included; the headers are counted by themselves.
      assemble: Math.ceil(rawBytes * 1.25) + frames * 1024 + 64 * 1024,
    },
  };
}
