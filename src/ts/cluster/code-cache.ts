// V8's compiled code of one program, kept in a file of the user's for the next process that runs it.
//
// Invariant: with or without the file the same program runs. A file is used only if it is whole, belongs to this user
// alone, and fits this program, this V8 and these options; if none can be written, each process compiles by itself.
import { createHash } from 'node:crypto';
import {
  closeSync,
  existsSync,
  fstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { homedir } from 'node:os';
import { isAbsolute, join } from 'node:path';
import { cachedDataVersionTag } from 'node:v8';
import { Script } from 'node:vm';

const SUFFIX = '.v8-code';
const DIGEST_BYTES = 32;
/** When code is kept, worst first: V8 compiles a function when it is first called. */
const MOMENTS = ['started', 'worked'] as const;
/** Files that are kept: the newest, of whatever program and version of V8. */
const MAX_FILES = 8;
const OTHERS_MAY_WRITE = 0o022;

const digest = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest();

const isOwn = (stats: { uid: number; mode: number }) =>
  stats.uid === process.geteuid?.() && (stats.mode & OTHERS_MAY_WRITE) === 0;

/**
 * The folder of the caches, as the XDG Base Directory Specification has it.
 *
 * @returns undefined where there is none, or `NODE_DISABLE_COMPILE_CACHE` is set
 */
export function codeCacheFolder(): string | undefined {
  const { NODE_DISABLE_COMPILE_CACHE: disabled, XDG_CACHE_HOME: chosen = '' } = process.env;
  if (disabled !== undefined && disabled !== '') return undefined;
  const home = isAbsolute(chosen) ? chosen : join(homedir(), '.cache');
  return isAbsolute(home) ? join(home, 'onepiece-rdma') : undefined;
}

// The whole file, without its digest; undefined unless it may be trusted.
function read(file: string): Buffer | undefined {
  let fd: number | undefined;
  try {
    fd = openSync(file, 'r');
    if (!isOwn(fstatSync(fd))) return undefined;
    const bytes = readFileSync(fd);
    const data = bytes.subarray(DIGEST_BYTES);
    return digest(data).equals(bytes.subarray(0, DIGEST_BYTES)) ? data : undefined;
  } catch {
    return undefined;
  } finally {
    if (fd !== undefined) closeSync(fd);
  }
}

// Whatever goes wrong here, nobody has asked for more than an attempt.
function write(folder: string, file: string, make: () => Buffer): void {
  try {
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    if (!isOwn(statSync(folder))) return;
    const data = make();
    const scratch = `${file}.${process.pid}`;
    try {
      writeFileSync(scratch, Buffer.concat([digest(data), data]), { flag: 'wx', mode: 0o600 });
      renameSync(scratch, file);
    } finally {
      rmSync(scratch, { force: true });
    }
    prune(folder);
  } catch {}
}

function prune(folder: string): void {
  const files = readdirSync(folder)
    .filter((name) => name.includes(SUFFIX))
    .map((name) => join(folder, name))
    .map((file) => ({ file, writtenAt: statSync(file).mtimeMs }));
  files.sort((a, b) => b.writtenAt - a.writtenAt);
  for (const { file } of files.slice(MAX_FILES)) rmSync(file, { force: true });
}

/** Once a process is ready, or once it has done what it is for, and so has compiled that too. */
export type Moment = (typeof MOMENTS)[number];

/** A program that was compiled, or taken from its cache. */
export interface CompiledModule {
  /** The function of a CommonJS module. */
  run(exports: object, require: NodeJS.Require, module: object, file: string, folder: string): void;
  /** Whether it came from the cache. */
  cached: boolean;
  /** Keeps what is compiled by now for the next process, unless as much was kept before. */
  keep(moment: Moment): void;
}

/**
 * Compiles a CommonJS module, by its cache if there is one.
 *
 * @param file where the module is; only names it
 * @param source its text in ASCII; it holds no `import()`, which a script from a cache cannot do in Node.js 20
 * @param folder of the caches, as {@link codeCacheFolder} answers it; undefined: none
 * @returns the module's function; a cache that cannot be read or written is no error
 */
export function compileModule(file: string, source: Buffer, folder: string | undefined): CompiledModule {
  const key = `${digest(source).toString('hex', 0, 16)}-${cachedDataVersionTag().toString(16)}`;
  const fileOf = (moment: Moment) => (folder === undefined ? undefined : join(folder, `${key}-${moment}${SUFFIX}`));
  const files = MOMENTS.map(fileOf);
  const wasThere = files.map((path) => path !== undefined && existsSync(path));
  let best = MOMENTS.length;
  let cachedData: Buffer | undefined;
  while (cachedData === undefined && --best >= 0) if (wasThere[best]) cachedData = read(files[best]!);
  // On the first line, so that the lines of an error are those of the file.
  const text = `(function (exports, require, module, __filename, __dirname) {${source.toString('latin1')}\n})`;
  const script = new Script(text, { filename: file, ...(cachedData !== undefined && { cachedData }) });
  const cached = cachedData !== undefined && script.cachedDataRejected === false;
  return {
    run: script.runInThisContext() as CompiledModule['run'],
    cached,
    keep: (moment) => {
      const rank = MOMENTS.indexOf(moment);
      const path = files[rank];
      if (folder === undefined || path === undefined || (cached && best >= rank)) return;
      // Of the processes that start together the first one writes; one that cannot be used is replaced.
      if (wasThere[rank] || !existsSync(path)) write(folder, path, () => script.createCachedData());
    },
  };
}
