// What `bench device` measures, and in what its figures are.
//
// Invariant: a test has one figure, in one unit, on every device.

/** In the order in which they are measured. */
export const deviceTests = ['write-seen', 'write-batch', 'write-copy', 'read', 'wake', 'event-loop', 'idle'] as const;
export type DeviceTest = (typeof deviceTests)[number];

/** The unit of a test's figure. */
export const figureUnits: Readonly<Record<DeviceTest, string>> = {
  'write-seen': 'us',
  'write-batch': 'million/s',
  'write-copy': 'x memcpy',
  read: 'us',
  wake: 'x eventfd',
  'event-loop': 'ms',
  idle: '% CPU',
};
