// The outside world of a pipeline: that of rings, and a clock in microseconds.
//
// Invariant: places, gateways and stage instances reach devices, time and other processes only through a port, so the
// code that ships runs in the seeded simulator.
import { createHash, randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
// Not the global of this name, which is looked up at each use.
import { performance } from 'node:perf_hooks';
import { BootstrapServer, connectBootstrap, type TlsIdentity } from '../connect/index.js';
import { clockOffsetUs } from '../core/clock-offset.js';
import type { RingPort } from '../ring/port.js';
import { systemPort } from '../ring/system-port.js';
import { findLocation } from './location.js';
import type { Location } from './place-address.js';

/** All of it. */
export interface PipelinePort extends RingPort {
  /** CLOCK_MONOTONIC in microseconds: the same for all processes of one host. */
  nowUs(): number;
  /** A number for this host, 0 to 2^32 - 1: places with the same one share that clock. */
  readonly host: number;
  /** Which machine this process runs on. */
  readonly location: Location;
  /** A random number from 0 up to 1. */
  random(): number;
}

// performance.now() counts CLOCK_MONOTONIC, as hrtime does, but from the start of this process; it makes no object.
const sinceStartUs = () => performance.now() * 1e3;
const originUs = clockOffsetUs(() => Number(process.hrtime.bigint()) / 1e3, sinceStartUs);

/** The port of real life. */
export const systemPipelinePort: PipelinePort = {
  ...systemPort,
  nowUs: () => originUs + sinceStartUs(),
  host: hostNumber(),
  location: findLocation(),
  random: Math.random,
};

/**
 * The port of real life, with TLS between hosts.
 *
 * @param tls what this node proves itself by; undefined: no TLS
 */
export function pipelinePort(tls: TlsIdentity | undefined): PipelinePort {
  if (tls === undefined) return systemPipelinePort;
  return {
    ...systemPipelinePort,
    listen: (options) => BootstrapServer.listen({ ...options, tls }),
    connect: (options) => connectBootstrap({ ...options, tls }),
  };
}

// One kernel has one clock: its boot identity, random(4), made into a number. Without it nobody shares the clock.
function hostNumber(): number {
  try {
    return createHash('sha256').update(readFileSync('/proc/sys/kernel/random/boot_id')).digest().readUInt32LE();
  } catch {
    return randomBytes(4).readUInt32LE();
  }
}
