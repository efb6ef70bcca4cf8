// The machine that this process runs on, for others to compare with theirs.
//
// Invariant: two processes that have the same `memory` share memory by soft devices: one kernel (its boot identity,
// random(4)), one user, one PID namespace (pid_namespaces(7)). Host names decide nothing if the kernel identifies
// itself, as two hosts may have the same name.
import { createHash } from 'node:crypto';
import { readFileSync, readlinkSync } from 'node:fs';
import os from 'node:os';
import type { Location } from './place-address.js';

const DIGITS = 16;

/** Looks. What cannot be read is left out of the comparison. */
export function findLocation(): Location {
  const boot = readOr('/proc/sys/kernel/random/boot_id') ?? readOr('/etc/machine-id') ?? os.hostname();
  const [network, processes] = ['net', 'pid'].map((name) => namespaceOf(name));
  return {
    machine: digest(`machine ${boot} ${network}`),
    memory: digest(`memory ${boot} ${processes} ${process.geteuid?.()}`),
    hostname: os.hostname(),
  };
}

/**
 * The subnet of an IPv4 address of this machine.
 *
 * @returns such as `10.0.0.0/24`; undefined when no interface has the address
 */
export function subnetOf(ip: string): string | undefined {
  for (const list of Object.values(os.networkInterfaces())) {
    for (const { address, cidr, family, netmask } of list ?? []) {
      if (family !== 'IPv4' || address !== ip || cidr === null) continue;
      const mask = netmask.split('.').map(Number);
      const base = ip.split('.').map((part, i) => Number(part) & mask[i]!);
      return `${base.join('.')}/${cidr.split('/')[1]}`;
    }
  }
  return undefined;
}

function readOr(file: string): string | undefined {
  try {
    return readFileSync(file, 'utf8').trim() || undefined;
  } catch {
    return undefined;
  }
}

function namespaceOf(name: string): string {
  try {
    return readlinkSync(`/proc/self/ns/${name}`);
  } catch {
    return '';
  }
}

const digest = (text: string): string => createHash('sha256').update(text).digest('hex').slice(0, DIGITS);
