// `onepiece demo`: a picture and a prompt become a clip.
//
// Invariant: whatever can be found wrong is found before a process is started, and whatever way it ends, no process
// and no half-written file is left.
import { createHash } from 'node:crypto';
import { extname } from 'node:path';
import { Command, Option } from 'commander';
import { LATENT_CHANNELS } from '../demo/basis.js';
import { loadPicture, type Picture } from '../demo/picture.js';
import { checkDemoPython, DEMO_PYTHON } from '../demo/python-check.js';
import { MAX_PROMPT_UNITS } from '../demo/text-encode.js';
import { clipSizes, imageToVideo, type Order } from '../demo/workflow.js';
import { LocalPipeline, type PipelineEvent } from '../cluster/index.js';
import { type PipelineResult, tensor, type Workflow } from '../pipeline/index.js';
import { Device } from '../verbs/index.js';
import { demoReport, demoText } from './demo-report.js';
import { interruptible, UsageError } from './exit.js';
import { integer } from './options.js';
import { OutputFile } from './output-file.js';
import { Progress } from './progress.js';

interface DemoOptions {
  prompt: string;
  output: string;
  format?: 'webp' | 'gif';
  frames: number;
  size: number;
  steps: number;
  fps: number;
  seed: number;
  device: string;
  timeout: number;
  python?: true;
  interpreter?: string;
  json?: true;
}

const MAX_RAW_BYTES = 512 * 2 ** 20;

export function demoCommand(setExitCode: (code: number) => void): Command {
  return new Command('demo')
    .description('turn a picture and a prompt into a short clip, through a pipeline of processes joined by RDMA')
    .argument('<picture>', 'a JPEG, PNG or WebP of up to 40 megapixels')
    .requiredOption('-o, --output <file>', 'where the clip goes; .webp or .gif')
    .option('-p, --prompt <text>', 'what should happen, for example "slow push in, evening light"', '')
    .addOption(new Option('--format <format>', 'default: by the ending of the output').choices(['webp', 'gif']))
    .option('--frames <count>', 'frames of the clip, 1 to 240', integer(1, 240), 24)
    .option('--size <pixels>', 'longer side of the clip, 64 to 1024', integer(64, 1024), 320)
    .option('--steps <count>', 'refinement steps, 1 to 200', integer(1, 200), 12)
    .option('--fps <count>', 'frames a second, 1 to 50', integer(1, 50), 12)
    .option('--seed <number>', 'another seed gives another clip', integer(0, Number.MAX_SAFE_INTEGER), 1)
    .option('--device <name>', 'the RDMA device that carries the messages', 'soft0')
    .option('--timeout <seconds>', 'give up after this time, 1 to 86400', integer(1, 86_400), 600)
    .option('--python', 'run image-encode, diffuse and decode in Python, with NumPy')
    .option('--interpreter <program>', 'the program that runs Python; default: python3')
    .option('--json', 'print one JSON document instead of the tables')
    .action(async (picture: string, options: DemoOptions) => setExitCode(await demo(picture, options)));
}

async function demo(path: string, options: DemoOptions): Promise<number> {
  const format = formatOf(options);
  if (options.prompt.length > MAX_PROMPT_UNITS) {
    throw new UsageError(`the prompt has ${options.prompt.length} characters; at most ${MAX_PROMPT_UNITS}`);
  }
  const interpreter = options.interpreter ?? 'python3';
  if (options.python === undefined && options.interpreter !== undefined) {
    throw new UsageError('--interpreter is for --python');
  }
  const progress = new Progress();
  return interruptible(async (signal) => {
    try {
      Device.open(options.device).close();
      if (options.python) {
        await checkDemoPython(interpreter);
        process.env[DEMO_PYTHON] = interpreter;
      }
      const picture = await loadPicture(path, { size: options.size });
      if (picture.width * picture.height * 3 * options.frames > MAX_RAW_BYTES) {
        throw new UsageError(
          `${options.frames} frames of ${picture.width}x${picture.height} are too many: lower one of them`,
        );
      }
      const output = await OutputFile.create(options.output);
      await produce(picture, options, format, output, progress, signal);
    } finally {
      progress.clear();
    }
  });
}

// Its module is imported when the interpreter is known, as worker processes do.
async function workflowOf(python: true | undefined): Promise<Workflow> {
  if (python === undefined) return imageToVideo;
  return (await import('../demo/python-workflow.js')).imageToVideoPython;
}

function formatOf(options: DemoOptions): 'webp' | 'gif' {
  if (options.format !== undefined) return options.format;
  const ending = extname(options.output).toLowerCase();
  if (ending === '.webp') return 'webp';
  if (ending === '.gif') return 'gif';
  throw new UsageError(`cannot tell the format of ${options.output}: end it in .webp or .gif, or give --format`);
}

async function produce(
  picture: Picture,
  options: DemoOptions,
  format: 'webp' | 'gif',
  output: OutputFile,
  progress: Progress,
  signal: AbortSignal,
): Promise<void> {
  const begin = performance.now();
  const { width, height, pixels } = picture;
  const { prompt, frames, steps, seed, fps, device } = options;
  const order: Order = { prompt, frames, steps, seed, fps, format };
  const sizes = clipSizes(width, height, frames, LATENT_CHANNELS);
  const workflow = (await workflowOf(options.python)).withSizes(sizes);
  const tasksBegun = new Map<string, number>();
  const status = new Map(workflow.stages.map((stage) => [stage.name, '-']));
  const onEvent = (event: PipelineEvent) => {
    if (event.type === 'restart') {
      progress.note(`${event.restart.stage}/${event.restart.instance} ended (${event.restart.reason}) and is replaced`);
    } else if (event.type === 'stage') {
      const { stage } = event;
      if (event.event.type === 'task') {
        tasksBegun.set(stage, (tasksBegun.get(stage) ?? 0) + 1);
        status.set(stage, '...');
      } else if (event.event.type === 'progress') status.set(stage, `${Math.round(event.event.done * 100)}%`);
      else if (event.event.type === 'done') status.set(stage, 'done');
    }
    progress.update([...status].map(([stage, text]) => `${stage} ${text}`).join('  '));
  };
  progress.update('starting the stages');
  const pipeline = await abortable(LocalPipeline.start(workflow, { device, onEvent }), signal, (late) => late.close());
  try {
    const result = await pipeline.run(
      { meta: order, parts: { pixels: tensor('u8', [height, width, 3], pixels) } },
      { timeoutMs: options.timeout * 1000, signal, trace: true },
    );
    const clip = clipOf(result);
    await output.commit(clip);
    const report = demoReport({
      workflow,
      trace: result.trace ?? { tasks: [], hops: [] },
      tasksBegun,
      restarts: pipeline.restarts,
      device,
      elapsedMs: performance.now() - begin,
      output: {
        path: options.output,
        format,
        bytes: clip.byteLength,
        sha256: createHash('sha256').update(clip).digest('hex'),
        width,
        height,
        frames,
        fps,
        seed,
        prompt,
      },
    });
    progress.clear();
    process.stdout.write(options.json ? `${JSON.stringify(report, null, 2)}\n` : demoText(report));
  } finally {
    await pipeline.close();
  }
}

function clipOf(result: PipelineResult): Uint8Array {
  const clip = result.outputs[0]?.parts.clip?.data;
  if (!(clip instanceof Uint8Array)) throw new Error('the pipeline answered no clip');
  return clip;
}

// What is awaited ends by itself; when it is not wanted any more, it is undone when it does.
async function abortable<T>(promise: Promise<T>, signal: AbortSignal, undo: (value: T) => Promise<void>): Promise<T> {
  const value = await promise;
  if (!signal.aborted) return value;
  await undo(value);
  throw new Error('interrupted');
}
