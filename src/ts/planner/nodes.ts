// What a node has, as it says itself, and as planners believe it.
//
// Invariant: a checked node has finite amounts that are not negative, so that no later sum can be NaN or lie.
import { RdmaError } from '../core/errors.js';
import { checkBoolean, checkInteger, checkObject, checkString, invalidArgument } from '../core/validate.js';
import { checkLabels } from '../pipeline/resources.js';

const MAX_NODE_GPUS = 1024;
const MAX_NODE_DEVICES = 64;
const MAX_BYTES = 2 ** 52;
const MAX_CORES = 65_536;

/** A GPU of a node; its number is its place in the list. */
export interface NodeGpu {
  /** In bytes. */
  readonly memoryBytes: number;
}

/** An RDMA device of a node. */
export interface NodeDevice {
  /** As the system names it. */
  readonly name: string;
  /** Devices of one fabric reach each other. */
  readonly fabric: string;
}

/** What a node has. `JSON.parse(JSON.stringify(node))` is the same node. */
export interface NodeInfo {
  /** Unique among the nodes. */
  readonly name: string;
  /** Nodes of one host reach each other's memory, and die together. */
  readonly host: string;
  /** Processor cores for instances, fractions too. */
  readonly cores: number;
  /** Memory for instances, in bytes. */
  readonly memoryBytes: number;
  /** Its GPUs, by number. */
  readonly gpus: readonly NodeGpu[];
  /** What stages may ask for. */
  readonly labels: Readonly<Record<string, string>>;
  /** Whom it reaches besides its own host. */
  readonly devices: readonly NodeDevice[];
  /** It is to be emptied: nothing new comes to it, and what it has moves away. */
  readonly draining: boolean;
}

/** What a node may leave out. */
export type NodeInfoInput = Pick<NodeInfo, 'name'> & Partial<NodeInfo>;

/**
 * Checks a node and fills in its defaults.
 *
 * @param input `name` 1 to 255 characters; `host` default its name; `cores`, `memoryBytes` default 0; `gpus`, `labels`,
 *   `devices` default none; `draining` default false
 * @returns the node, frozen
 * @throws RdmaError RDMA_ERR_INVALID_ARGUMENT naming the field
 */
export function checkNode(input: unknown): NodeInfo {
  const given = checkObject<Partial<NodeInfo>>('node', input);
  const name = checkString('name of a node', given.name, { minLength: 1, maxLength: 255 });
  const cores = given.cores ?? 0;
  if (typeof cores !== 'number' || !(cores >= 0 && cores <= MAX_CORES)) {
    throw invalidArgument(`cores of node ${name}`, cores, `a number from 0 to ${MAX_CORES}`);
  }
  const gpus = checkList(`gpus of node ${name}`, given.gpus ?? [], MAX_NODE_GPUS);
  const devices = checkList(`devices of node ${name}`, given.devices ?? [], MAX_NODE_DEVICES);
  return Object.freeze({
    name,
    host: checkString(`host of node ${name}`, given.host ?? name, { minLength: 1, maxLength: 255 }),
    cores,
    memoryBytes: checkInteger(`memoryBytes of node ${name}`, given.memoryBytes ?? 0, 0, MAX_BYTES),
    gpus: Object.freeze(
      gpus.map((gpu) => {
        const { memoryBytes } = checkObject<NodeGpu>(`a GPU of node ${name}`, gpu);
        const what = `memoryBytes of a GPU of node ${name}`;
        return Object.freeze({ memoryBytes: checkInteger(what, memoryBytes, 0, MAX_BYTES) });
      }),
    ),
    labels: checkLabels(`node ${name}`, given.labels ?? {}),
    devices: Object.freeze(
      devices.map((device) => {
        const { name: own, fabric } = checkObject<NodeDevice>(`a device of node ${name}`, device);
        return Object.freeze({
          name: checkString(`name of a device of node ${name}`, own, { minLength: 1, maxLength: 255 }),
          fabric: checkString(`fabric of a device of node ${name}`, fabric, { minLength: 1, maxLength: 255 }),
        });
      }),
    ),
    draining: checkBoolean(`draining of node ${name}`, given.draining ?? false),
  });
}

function checkList(what: string, list: unknown, most: number): readonly unknown[] {
  if (Array.isArray(list) && list.length <= most) return list;
  throw invalidArgument(what, list, `a list of at most ${most}`);
}

/**
 * Checks the nodes of a cluster.
 *
 * @returns them in the order of their names, so that nothing depends on who was asked first
 * @throws RdmaError RDMA_ERR_INVALID_ARGUMENT for a bad node, or two of one name
 */
export function checkNodes(input: unknown): readonly NodeInfo[] {
  if (!Array.isArray(input)) throw invalidArgument('nodes', input, 'a list');
  const nodes = input.map(checkNode).sort((a, b) => (a.name < b.name ? -1 : a.name > b.name ? 1 : 0));
  for (let i = 1; i < nodes.length; i++) {
    if (nodes[i]!.name === nodes[i - 1]!.name) {
      throw new RdmaError('RDMA_ERR_INVALID_ARGUMENT', `two nodes are named ${nodes[i]!.name}`, {
        remedy: 'start one of them under another name',
      });
    }
  }
  return nodes;
}
