// The file that a command writes its result to.
//
// Invariant: the file appears whole or not at all: it is written beside its place and renamed when it is complete. What
// cannot be written is found out before the work begins, and while the work goes on there is no file of it, so that
// even SIGKILL leaves none behind.
import { randomBytes } from 'node:crypto';
import { constants } from 'node:fs';
import { type FileHandle, open, rename, stat, unlink } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';

export class OutputFile {
  readonly path: string;

  private constructor(path: string) {
    this.path = path;
  }

  /** @throws Error with one clear line when `path` cannot be written */
  static async create(path: string): Promise<OutputFile> {
    const there = await stat(path).catch(() => undefined);
    if (there?.isDirectory()) throw new Error(`cannot write ${path}: it is a directory`);
    if (there !== undefined && !there.isFile()) throw new Error(`cannot write ${path}: it is not a regular file`);
    const output = new OutputFile(path);
    try {
      const { file, temporary } = await output.openBeside();
      await unlink(temporary);
      await file.close();
      return output;
    } catch (error) {
      throw new Error(`cannot write ${path}: ${reason(error)}`);
    }
  }

  private async openBeside(): Promise<{ file: FileHandle; temporary: string }> {
    const name = `.${basename(this.path)}.${randomBytes(4).toString('hex')}`;
    const temporary = join(dirname(this.path), name);
    const file = await open(temporary, constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL, 0o666);
    return { file, temporary };
  }

  /** Writes all of it and puts it in its place. */
  async commit(data: Uint8Array): Promise<void> {
    let temporary: string | undefined;
    try {
      const beside = await this.openBeside();
      temporary = beside.temporary;
      try {
        await beside.file.writeFile(data);
      } finally {
        await beside.file.close();
      }
      await rename(temporary, this.path);
    } catch (error) {
      if (temporary !== undefined) await unlink(temporary).catch(() => {});
      throw new Error(`cannot write ${this.path}: ${reason(error)}`);
    }
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
