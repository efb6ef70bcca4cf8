// Large values as files beside a database.
//
// Invariant: a file that has its name is whole and on disk. One that no record names is garbage, and is removed when it is
// old enough that nobody can be about to name it.
import { mkdir, open, readdir, readFile, rename, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';

const UNFINISHED = '.part';
/** A value is named by a record within less than this. */
const ORPHAN_AGE_MS = 10 * 60_000;

/** @internal */
export class ValueFiles {
  constructor(private readonly folder: string) {}

  async open(): Promise<void> {
    await mkdir(this.folder, { recursive: true, mode: 0o700 });
  }

  /** Writes a value: whole and on disk when it answers. @throws the system's error; nothing is left then */
  async write(name: string, bytes: Uint8Array): Promise<void> {
    const path = join(this.folder, name);
    const part = `${path}${UNFINISHED}`;
    try {
      const file = await open(part, 'wx', 0o600);
      try {
        await file.writeFile(bytes);
        await file.sync();
      } finally {
        await file.close();
      }
      await rename(part, path);
      // The name too must be on disk: fsync(2), NOTES.
      const folder = await open(this.folder, 'r');
      try {
        await folder.sync();
      } finally {
        await folder.close();
      }
    } catch (error) {
      await this.remove([name, `${name}${UNFINISHED}`]);
      throw error;
    }
  }

  /** @returns undefined: there is no such file */
  async read(name: string): Promise<Uint8Array | undefined> {
    try {
      return await readFile(join(this.folder, name));
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
      throw error;
    }
  }

  /** Removes files, whether they are there or not. What cannot be removed now is removed by a sweep. */
  async remove(names: readonly string[]): Promise<void> {
    await Promise.allSettled(names.map((name) => rm(join(this.folder, name), { force: true })));
  }

  /** Removes old files that `isNamed` does not know. @returns how many */
  async sweep(isNamed: (name: string) => boolean): Promise<number> {
    const oldest = Date.now() - ORPHAN_AGE_MS;
    const orphans: string[] = [];
    for (const name of await readdir(this.folder)) {
      if (isNamed(name)) continue;
      const found = await stat(join(this.folder, name)).catch(() => undefined);
      if (found !== undefined && found.mtimeMs < oldest) orphans.push(name);
    }
    await this.remove(orphans);
    return orphans.length;
  }
}
