// Checks of GPUs: the driver, what each one has, who reaches whom, pinned memory and CUDA IPC.
//
// Invariant: pure functions of what was observed. Having no GPU is a note, not a fault: the verdict is about RDMA and
// does not count GPUs.
import { bytesInWords } from '../core/memory-room.js';
import type { Gpu, GpuInventory } from '../cluster/gpus.js';
import { type Finding, note, ok, warning } from './finding.js';
import type { Observation } from './observation.js';

export function gpuChecks({ gpus }: Pick<Observation, 'gpus'>): Finding[] {
  if (typeof gpus === 'string') return [note('gpus', gpus)];
  const { problem, cuda, driver } = gpus;
  const loaded = driver === null ? 'no NVIDIA driver is loaded' : `the NVIDIA driver ${driver} is loaded`;
  if (problem !== null) {
    return [
      warning('gpus', `${loaded}, and CUDA cannot be used: ${problem}`, 'see nvidia-smi, and the log of the kernel'),
    ];
  }
  if (gpus.gpus.length === 0) return [note('gpus', `there are no GPUs here: ${loaded}, and CUDA sees none`)];
  return [
    ok('gpus', `${gpus.gpus.length} for CUDA ${cuda} (${loaded}): ${gpus.gpus.map(described).join(', ')}`),
    ...peers(gpus),
    trial(gpus.gpus, {
      id: 'gpu-pinning',
      why: ({ hostRegister, pinProblem }) => pinProblem ?? (hostRegister ? null : 'it cannot register memory'),
      good: '64 MiB of memory can be registered with each GPU, for copies at full speed',
      bad: 'memory cannot be registered, so copies to and from it are slow',
      remedy: 'see the limit of the control group on memory, and ulimit -l',
    }),
    trial(gpus.gpus, {
      id: 'gpu-ipc',
      why: ({ unifiedAddressing, ipcProblem }) => ipcProblem ?? (unifiedAddressing ? null : 'no unified addressing'),
      good: 'memory of each GPU can be handed to another process (CUDA IPC)',
      bad: 'its memory cannot be handed to another process (CUDA IPC)',
      remedy: 'in a container: share the IPC and PID namespaces of the host; under WSL there is none',
    }),
  ];
}

const described = ({ name, memoryBytes }: Gpu, number: number) => `${number} ${name} ${bytesInWords(memoryBytes)}`;

function peers({ peers: reach }: GpuInventory): Finding[] {
  if (reach.length < 2) return [];
  const apart = reach.flatMap((row, one) => row.flatMap((can, other) => (can ? [] : [`${one} to ${other}`])));
  if (apart.length === 0) return [ok('gpu-peers', `each of the ${reach.length} GPUs reaches the memory of the others`)];
  const pairs = reach.length * (reach.length - 1);
  const words = `${apart.length} of ${pairs} ways between GPUs have no peer access (${apart.slice(0, 8).join(', ')})`;
  return [note('gpu-peers', `${words}: such copies go through host memory`)];
}

interface Trial {
  id: string;
  /** Why it does not work on this GPU; null: it works. */
  why: (gpu: Gpu) => string | null;
  good: string;
  bad: string;
  remedy: string;
}

function trial(gpus: readonly Gpu[], { id, why, good, bad, remedy }: Trial): Finding {
  const failed = gpus.flatMap((gpu, number) => {
    const reason = why(gpu);
    return reason === null ? [] : [`GPU ${number}: ${bad}: ${reason}`];
  });
  return failed.length === 0 ? ok(id, good) : warning(id, failed.join('; '), remedy);
}
