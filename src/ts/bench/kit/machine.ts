// The machine that a figure was measured on.
//
// Invariant: only what is the same for every run on one machine, so that two reports can be compared; no names of
// people, hosts or folders.
import { arch, cpus, release, totalmem } from 'node:os';

export interface Machine {
  cpu: string;
  cores: number;
  memoryGib: number;
  arch: string;
  kernel: string;
  node: string;
}

export function machine(): Machine {
  const processors = cpus();
  return {
    cpu: processors[0]?.model.trim() ?? 'unknown',
    cores: processors.length,
    memoryGib: Math.round(totalmem() / 2 ** 30),
    arch: arch(),
    kernel: release(),
    node: process.version,
  };
}
