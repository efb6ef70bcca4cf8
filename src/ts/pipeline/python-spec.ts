// The spec of a stage whose code is in Python.
//
// Invariant: it is data like the rest of a spec: neither the file nor the interpreter is looked up here.
import { checkObject, checkString, invalidArgument } from '../core/validate.js';

/** The code of a stage in Python. */
export interface PythonSpec {
  /** The file of the code; a relative path is looked up beside the module of the workflow. */
  readonly file: string;
  /** The class (a `Stage`) or the function (`@stage`) in that file. */
  readonly name: string;
  /** The program that runs it, a path or a name; not there: `python3`. */
  readonly interpreter?: string;
  /** Environment variables besides those of the pipeline. */
  readonly env?: Readonly<Record<string, string>>;
}

const IDENTIFIER = /^[\p{L}_][\p{L}\p{N}_]*$/u;
const VARIABLE = /^[^=\0]{1,256}$/;

/** Checks the option `python` of a stage. @throws RdmaError RDMA_ERR_INVALID_ARGUMENT naming the field */
export function checkPython(stage: string, input: unknown): PythonSpec {
  const { file, name, interpreter, env } = checkObject<Partial<PythonSpec>>(`python of stage ${stage}`, input);
  return Object.freeze({
    file: checkText(`python.file of stage ${stage}`, file),
    name: checkString(`python.name of stage ${stage}`, name, { minLength: 1, maxLength: 256, pattern: IDENTIFIER }),
    ...(interpreter === undefined
      ? {}
      : { interpreter: checkText(`python.interpreter of stage ${stage}`, interpreter) }),
    ...(env === undefined ? {} : { env: checkEnvironment(stage, env) }),
  });
}

function checkText(name: string, value: unknown): string {
  const text = checkString(name, value, { minLength: 1, maxLength: 4096 });
  if (text.includes('\0')) throw invalidArgument(name, text, 'a path without a NUL');
  return text;
}

function checkEnvironment(stage: string, input: unknown): Readonly<Record<string, string>> {
  const env = checkObject<Record<string, unknown>>(`python.env of stage ${stage}`, input);
  const checked: Record<string, string> = {};
  for (const [key, value] of Object.entries(env)) {
    const name = `python.env.${key} of stage ${stage}`;
    if (!VARIABLE.test(key)) throw invalidArgument(name, key, 'the name of an environment variable');
    if (typeof value !== 'string' || value.includes('\0')) throw invalidArgument(name, value, 'a string without a NUL');
    checked[key] = value;
  }
  return Object.freeze(checked);
}
