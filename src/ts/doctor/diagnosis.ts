// All checks, and what they come to.
//
// Invariant: the verdict rests on what was tried (a device opened, memory registered, an address proved), never on how
// many findings there are.
import type { Finding } from './finding.js';
import { gpuChecks } from './gpu-checks.js';
import { kernelChecks } from './kernel-checks.js';
import { limitChecks } from './limit-checks.js';
import type { Observation } from './observation.js';
import { portChecks } from './port-checks.js';
import { programChecks } from './program-checks.js';
import { surroundingsChecks } from './surroundings-checks.js';
import type { System } from './system.js';

/** `verbs`: a verbs device can be used; `soft`: only soft0; `none`: nothing. */
export type Verdict = 'verbs' | 'soft' | 'none';

export interface Diagnosis {
  verdict: Verdict;
  /** The devices that can be used. */
  usable: string[];
  findings: Finding[];
}

/** Judges a machine from what it says (`system`) and what was tried on it (`observed`). */
export function diagnose(system: System, observed: Observation): Diagnosis {
  const usable = observed.devices.filter(
    ({ name, kind, problem, ports }) =>
      problem === null &&
      observed.memoryProblems[name] === undefined &&
      ports.some(({ chosen }) => chosen !== null) &&
      (kind === 'verbs' || observed.peerProblem === null),
  );
  const verdict = usable.some(({ kind }) => kind === 'verbs') ? 'verbs' : usable.length > 0 ? 'soft' : 'none';
  return {
    verdict,
    usable: usable.map(({ name }) => name),
    findings: [
      ...programChecks(system, observed),
      ...kernelChecks(system, observed),
      ...portChecks(system, observed),
      ...limitChecks(system),
      ...surroundingsChecks(system, observed),
      ...gpuChecks(observed),
    ],
  };
}
