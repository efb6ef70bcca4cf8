// What is served: a workflow, and what goes with it over HTTP.
//
// Invariant: a service that does not fit is refused before a process is started, with what it must export.
import { createRequire } from 'node:module';
import { resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { RdmaError } from '../core/errors.js';
import { checkFunction } from '../core/validate.js';
import { isWorkflow, type Workflow } from '../pipeline/index.js';
import type { Prepare } from './context.js';

/** A workflow as a service. */
export interface Service {
  workflow: Workflow;
  prepare: Prepare | undefined;
  /** Whether the demo's page goes with it. */
  hasDemoPage: boolean;
}

/** The name under which the demo is served. */
export const DEMO_NAME = 'demo';

/**
 * Loads a service.
 *
 * @param name `demo`, or the path of a module that exports one workflow, and may export a function `prepare`
 * @param exportName which workflow, when the module exports several
 * @param isAnew reads the module again, though this process has it already; what it imports itself stays as it is
 * @throws RdmaError RDMA_ERR_INVALID_ARGUMENT when there is none, with what the module exports
 */
export async function loadService(name: string, exportName?: string, isAnew = false): Promise<Service> {
  if (name === DEMO_NAME) {
    if (exportName !== undefined) {
      const text = `${DEMO_NAME} is one workflow, so there is no ${exportName} to choose`;
      throw new RdmaError('RDMA_ERR_INVALID_ARGUMENT', text, { remedy: 'leave out --export' });
    }
    const { servedImageToVideo, prepareImageToVideo } = await import('../demo/served.js');
    return { workflow: servedImageToVideo, prepare: prepareImageToVideo, hasDemoPage: true };
  }
  const path = resolve(name);
  let module: Record<string, unknown>;
  try {
    module = await importFile(path, isAnew);
  } catch (cause) {
    const text = `${path} cannot be loaded: ${cause instanceof Error ? cause.message : String(cause)}`;
    throw new RdmaError('RDMA_ERR_INVALID_ARGUMENT', text, {
      remedy: `give the path of a module that exports a workflow, or ${DEMO_NAME}`,
      cause,
    });
  }
  const workflow = chooseWorkflow(path, module, exportName);
  const prepare = module.prepare === undefined ? undefined : (checkFunction('prepare', module.prepare) as Prepare);
  return { workflow, prepare, hasDemoPage: false };
}

let readings = 0;

// CommonJS modules show what they export under `default` too.
async function importFile(path: string, isAnew: boolean): Promise<Record<string, unknown>> {
  const url = pathToFileURL(path);
  if (isAnew) {
    url.search = `?reading=${++readings}`; // a module is known by its URL, or by its path where it is CommonJS
    delete createRequire(url).cache[path];
  }
  const module: Record<string, unknown> = await import(url.href);
  const { default: main } = module;
  const isObject = typeof main === 'object' && main !== null && !isWorkflow(main);
  return isObject ? { ...(main as Record<string, unknown>), ...module, default: undefined } : module;
}

function chooseWorkflow(path: string, module: Record<string, unknown>, exportName: string | undefined): Workflow {
  const found = Object.entries(module).filter((entry): entry is [string, Workflow] => isWorkflow(entry[1]));
  const names = found.map(([name]) => name).join(', ') || 'none';
  const refuse = (text: string, remedy: string) => new RdmaError('RDMA_ERR_INVALID_ARGUMENT', text, { remedy });
  if (exportName !== undefined) {
    const chosen = found.find(([name]) => name === exportName);
    if (chosen === undefined) throw refuse(`${path} exports no workflow ${exportName}`, `it exports ${names}`);
    return chosen[1];
  }
  const different = [...new Set(found.map(([, workflow]) => workflow))];
  if (different.length === 0) throw refuse(`${path} exports no workflow`, 'export what workflow() answers');
  if (different.length > 1) throw refuse(`${path} exports several workflows`, `choose one by --export: ${names}`);
  return different[0]!;
}
