// `onepiece profile`: what the stages of a workflow cost, measured by running it, as a profile for `onepiece plan`.
//
// Invariant: results on stdout, everything else on stderr. The file appears whole or not at all, and no process of a
// stage is left, however the command ends.
import { readFileSync } from 'node:fs';
import { basename, extname } from 'node:path';
import { totalmem } from 'node:os';
import { Command } from 'commander';
import { machine } from '../bench/kit/machine.js';
import { missingOf, profileOf, summary } from '../bench/profile/document.js';
import { measureWorkflow, type WorkflowMeasured } from '../bench/profile/measure.js';
import { readGpus } from '../cluster/gpus.js';
import { isRdmaError } from '../core/errors.js';
import type { PipelineRequest, Workflow } from '../pipeline/index.js';
import { type Profile, PROFILE_ID } from '../planner/profiles/profile.js';
import { loadService } from '../serve/index.js';
import type { Service } from '../serve/service.js';
import { JSON_TYPE, OCTETS } from '../serve/media.js';
import { NPY_TYPE } from '../serve/npy.js';
import { decodeBody, type DecodedRequest } from '../serve/request-body.js';
import { SAFETENSORS_TYPE } from '../serve/safetensors.js';
import { asUsage, interruptible, UsageError } from './exit.js';
import { duration, integer, integers, names, startTimeout } from './options.js';
import { OutputFile } from './output-file.js';
import { Progress } from './progress.js';
import { bytes, table } from './table.js';

interface ProfileFlags {
  export?: string;
  input?: string[];
  part?: string;
  meta?: string;
  requests: number;
  batch: number[];
  warmUp: number;
  loads: number;
  units: number;
  shared?: string[];
  id?: string;
  gpu?: string;
  device: string;
  requestTimeout: number;
  startTimeoutMs: number;
  output?: string;
  json?: true;
}

const MAX_MS = 86_400_000;
const MAX_BATCH = 64;
const gathered = (text: string, before: string[] | undefined) => [...(before ?? []), text];

export function profileCommand(setExitCode: (code: number) => void): Command {
  return new Command('profile')
    .description('measure what the stages of a workflow cost, as a profile for `plan` and `simulate`')
    .argument('<workflow>', '`demo`, or the path of a module that exports a workflow')
    .option('--export <name>', 'which workflow, when the module exports several')
    .option('--input <file>', 'a request: JSON of meta and parts, or any file as a part; several take turns', gathered)
    .option('--part <name>', 'the part that a file which is not JSON becomes; default: data')
    .option('--meta <json>', 'the metadata of a request that is not from a JSON file')
    .option('--requests <count>', 'how many count, for each size of batches', integer(1, 100_000), 20)
    .option('--batch <sizes>', 'also so many requests together, such as 2,4', integers(1, MAX_BATCH), [1])
    .option('--warm-up <count>', 'requests before those that count', integer(0, 1000), 1)
    .option('--loads <count>', 'how often each stage is started again', integer(1, 10), 1)
    .option('--units <count>', 'units of work of a request; figures are of one', integer(1, 1e9), 1)
    .option('--shared <stages>', 'stages whose weights are the same for all variants of the model', names)
    .option('--id <name>', 'names the profile; default: the name of the workflow')
    .option('--gpu <kind>', 'names the kind of GPU; default: as the driver does, such as H100')
    .option('--device <name>', 'the RDMA device that carries the messages', 'soft0')
    .option('--request-timeout <time>', 'how long a request may take', duration(MAX_MS), 600_000)
    .addOption(startTimeout('how long the stages may take to start'))
    .option('--output <file>', 'write the profile to this file')
    .option('--json', 'print the profile instead of the table')
    .addHelpText(
      'after',
      '\nExample: onepiece profile ./clip.js --input request.json --output clip.json\n' +
        '         onepiece plan --trace day --rate 0.1 --profile ./clip.json',
    )
    .action(async (module: string, flags: ProfileFlags) => setExitCode(await profile(module, flags)));
}

async function profile(module: string, flags: ProfileFlags): Promise<number> {
  const service = await loadService(module, flags.export).catch(asUsage);
  const { workflow } = service;
  const unknown = (flags.shared ?? []).find((name) => !workflow.spec.stages.some((stage) => stage.name === name));
  if (unknown !== undefined) throw new UsageError(`--shared ${unknown}: the workflow has no such stage`);
  const id = flags.id ?? workflow.name;
  if (!PROFILE_ID.test(id)) {
    const fault = flags.id === undefined ? `the name of the workflow, ${id}, is no id of a profile` : `--id ${id}`;
    throw new UsageError(`${fault}: give --id of small letters, digits, dots, _ and -, at most 80`);
  }
  const requests = await requestsOf(service, flags);
  const output = flags.output === undefined ? undefined : await OutputFile.create(flags.output);
  const gpu = await gpuOf(workflow, flags.gpu);
  return interruptible(async (signal) => {
    const progress = new Progress();
    try {
      const settings = {
        requests,
        rounds: flags.requests,
        batches: [...new Set([1, ...flags.batch])].sort((a, b) => a - b),
        warmUp: flags.warmUp,
        loads: flags.loads,
        device: flags.device,
        requestTimeoutMs: flags.requestTimeout,
        startTimeoutMs: flags.startTimeoutMs,
      };
      const measured = await measureWorkflow(workflow, settings, (words) => progress.update(words), signal);
      const { cpu, cores, memoryGib, kernel } = machine();
      const host = `${cpu}, ${cores} cores, ${memoryGib} GiB, Linux ${kernel}`;
      const document = profileOf(workflow.spec, measured, {
        id,
        what: `workflow ${workflow.name}, ${flags.requests} requests of ${flags.units} units`,
        machine: gpu === undefined ? host : `${gpu.name}; ${host}`,
        where: `onepiece profile ${basename(module)}`,
        gpu,
        hostMemoryGB: totalmem() / 1e9,
        units: flags.units,
        shared: new Set(flags.shared),
      });
      progress.clear();
      const text = `${JSON.stringify(document, null, 2)}\n`;
      if (output !== undefined) await output.commit(Buffer.from(text));
      for (const words of [...measured.notes, ...missingOf(document)]) process.stderr.write(`onepiece: ${words}\n`);
      process.stdout.write(flags.json ? text : tableOf(document, measured));
    } finally {
      progress.clear();
    }
  });
}

const TYPES: Record<string, string> = {
  '.json': JSON_TYPE,
  '.npy': NPY_TYPE,
  '.safetensors': SAFETENSORS_TYPE,
  '.png': 'image/png',
  '.jpg': 'image/jpeg',
  '.jpeg': 'image/jpeg',
  '.webp': 'image/webp',
};

async function requestsOf(service: Service, { input = [], part, meta }: ProfileFlags): Promise<PipelineRequest[]> {
  const types = input.map((file) => TYPES[extname(file).toLowerCase()] ?? OCTETS);
  const hasFile = types.some((type) => type !== JSON_TYPE);
  if (part !== undefined && !hasFile) throw new UsageError('--part is for an --input that is not JSON');
  if (meta !== undefined && input.length > 0 && !hasFile)
    throw new UsageError('--meta: an --input of JSON has its own');
  const list: { what: string; decoded: DecodedRequest }[] = [];
  if (input.length === 0) list.push({ what: '--meta', decoded: decoded('--meta', JSON_TYPE, bodyOf(meta), {}) });
  for (const [i, file] of input.entries()) {
    const type = types[i]!;
    const what = `--input ${file}`;
    let content: Buffer;
    try {
      content = readFileSync(file);
    } catch (error) {
      throw new UsageError(`${what} cannot be read: ${(error as Error).message}`);
    }
    const query = type === JSON_TYPE ? {} : { part, meta };
    list.push({
      what,
      decoded: decoded(what, type, type === JSON_TYPE ? parsed(what, String(content)) : content, query),
    });
  }
  const { prepare } = service;
  if (prepare === undefined) return list.map((each) => each.decoded);
  // As `serve` does: with its defaults, and what the service refuses is refused.
  return Promise.all(
    list.map(async ({ what, decoded: request }) => {
      try {
        const { meta: full = {}, parts = {} } = await prepare(request);
        return { meta: full as NonNullable<PipelineRequest['meta']>, parts };
      } catch (error) {
        throw isRdmaError(error) ? new UsageError(`${what}: ${error.message}`) : error;
      }
    }),
  );
}

function bodyOf(meta: string | undefined): unknown {
  return meta === undefined ? {} : { meta: parsed('--meta', meta) };
}

function parsed(what: string, text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new UsageError(`${what} is no JSON: ${(error as Error).message}`);
  }
}

function decoded(
  what: string,
  type: string,
  body: unknown,
  query: { part?: string | undefined; meta?: string | undefined },
) {
  try {
    return decodeBody(type, body, query);
  } catch (error) {
    throw isRdmaError(error) ? new UsageError(`${what}: ${error.message}`) : error;
  }
}

interface GpuName {
  readonly kind: string;
  readonly name: string;
  readonly memoryGB: number;
}

// Of a machine with several kinds, the first one: it is also the first that stages get.
async function gpuOf({ spec }: Workflow, kind: string | undefined): Promise<GpuName | undefined> {
  if (!spec.stages.some(({ resources }) => (resources?.gpus ?? 0) > 0)) {
    if (kind !== undefined) throw new UsageError('--gpu: no stage of the workflow has a GPU');
    return undefined;
  }
  const [first] = (await readGpus()).gpus;
  if (first === undefined) return undefined; // the start says that GPUs are missing
  const short = first.name.replace(/^NVIDIA\s+/, '').split(/\s+/)[0]!;
  return { kind: kind ?? short, name: first.name, memoryGB: first.memoryBytes / 1e9 };
}

function tableOf({ stages }: Profile, measured: WorkflowMeasured): string {
  const rows = stages.flatMap((stage, i) =>
    stage.seconds.map(({ gpus, batch, value, spread }) => [
      stage.name,
      `${batch}`,
      `${gpus}`,
      value.toPrecision(4),
      `${spread!.low.toPrecision(4)} to ${spread!.high.toPrecision(4)}`,
      `${spread!.samples}`,
      stage.loadSeconds === undefined ? '-' : stage.loadSeconds.value.toPrecision(3),
      stage.memoryGB === undefined ? '-' : `${stage.memoryGB.value.toPrecision(3)} GB`,
      measured.stages[i]!.outputBytes === undefined ? '-' : bytes(measured.stages[i]!.outputBytes!),
    ]),
  );
  const head = ['stage', '>batch', '>gpus', '>seconds', '>5 to 95 %', '>of', '>start s', '>memory', '>output'];
  const whole = summary(measured.latencySeconds).value;
  const between = summary(measured.betweenSeconds).value;
  const betweenMs = (1000 * between).toPrecision(3);
  const alone = `A request alone took ${whole.toPrecision(4)} s, ${betweenMs} ms of it between stages.`;
  return `${table(head, rows)}\n${alone}\n`;
}
