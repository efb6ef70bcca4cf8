// The file that a command writes its result to.
//
// Invariant: the file appears whole or not at all: it is written beside its place and renamed, and what cannot be
// written is found out before the work begins.
import { randomBytes } from 'node:crypto';
import { constants } from 'node:fs';
import { type FileHandle, open, rename, stat, unlink } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';

export class OutputFile {
  readonly path: string;
  private readonly temporary: string;
  private file: FileHandle | undefined;

  private constructor(path: string, temporary: string, file: FileHandle) {
    this.path = path;
    this.temporary = temporary;
    this.file = file;
  }

  /** @throws Error with one clear line when `path` cannot be written */
  static async create(path: string): Promise<OutputFile> {
    const there = await stat(path).catch(() => undefined);
    if (there?.isDirectory()) throw new Error(`cannot write ${path}: it is a directory`);
    if (there !== undefined && !there.isFile()) throw new Error(`cannot write ${path}: it is not a regular file`);
    const temporary = join(dirname(path), `.${basename(path)}.${randomBytes(4).toString('hex')}`);
    try {
      const file = await open(temporary, constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL, 0o666);
      return new OutputFile(path, temporary, file);
    } catch (error) {
      throw new Error(`cannot write ${path}: ${reason(error)}`);
    }
  }

  /** Writes all of it and puts it in its place. */
  async commit(data: Uint8Array): Promise<void> {
    try {
      await this.file?.writeFile(data);
      await this.file?.close();
      this.file = undefined;
      await rename(this.temporary, this.path);
    } catch (error) {
      throw new Error(`cannot write ${this.path}: ${reason(error)}`);
    }
  }

  /** Leaves nothing behind; does nothing after commit(). */
  async discard(): Promise<void> {
    await this.file?.close().catch(() => {});
    this.file = undefined;
    await unlink(this.temporary).catch(() => {});
  }
}

const words: Record<string, string> = {
  ENOENT: 'its folder does not exist',
  ENOTDIR: 'its folder is not a folder',
  EACCES: 'permission denied',
  EPERM: 'permission denied',
  EROFS: 'the file system is read-only',
  ENOSPC: 'the disk is full',
  ENAMETOOLONG: 'the name is too long',
};

function reason(error: unknown): string {
  const { code, message } = error as NodeJS.ErrnoException;
  return words[code ?? ''] ?? message;
}
