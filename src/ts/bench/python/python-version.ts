// Which Python a benchmark ran.
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';

/** What a program says of itself, such as `Python 3.11.2`. @throws Error when it cannot be run */
export async function pythonVersion(interpreter: string): Promise<string> {
  const { stdout } = await promisify(execFile)(interpreter, ['--version']);
  return stdout.trim();
}
