// What the soft device is to reach.
//
// Invariant: goals are for soft devices alone, and for the sizes that they name; everything else has none.

export const deviceTests = ['write-seen', 'write-batch', 'write-copy', 'read', 'wake', 'event-loop', 'idle'] as const;
export type DeviceTest = (typeof deviceTests)[number];

export interface Goal {
  unit: string;
  isLessBetter: boolean;
  atLeast: number;
  stretch: number | null;
}

export type Reached = 'stretch' | 'at least' | 'no';

const MIB = 2 ** 20;

const goals: Record<DeviceTest, Goal> = {
  'write-seen': { unit: 'us', isLessBetter: true, atLeast: 0.6, stretch: 0.3 },
  'write-batch': { unit: 'million/s', isLessBetter: false, atLeast: 3, stretch: 10 },
  'write-copy': { unit: 'x memcpy', isLessBetter: false, atLeast: 0.9, stretch: 1 },
  read: { unit: 'us', isLessBetter: true, atLeast: 1, stretch: 0.4 },
  wake: { unit: 'x eventfd', isLessBetter: true, atLeast: 1.5, stretch: 1.1 },
  'event-loop': { unit: 'ms', isLessBetter: true, atLeast: 1, stretch: null },
  idle: { unit: '% CPU', isLessBetter: true, atLeast: 0, stretch: null },
};

/** @returns undefined where nothing was set */
export function goalOf(test: DeviceTest, sizeBytes: number): Goal | undefined {
  if (test === 'write-copy' && sizeBytes < MIB) return undefined;
  return goals[test];
}

/** In what a figure of this test is told. */
export const unitOf = (test: DeviceTest): string => goals[test].unit;

/** What of a goal a figure reaches. */
export function reached({ isLessBetter, atLeast, stretch }: Goal, value: number): Reached {
  const holds = (goal: number) => (isLessBetter ? value <= goal : value >= goal);
  if (stretch !== null && holds(stretch)) return 'stretch';
  return holds(atLeast) ? 'at least' : 'no';
}
