// The details of devices as text.
//
// Invariant: no value is shortened to another word; an unknown value is `-`.
import type { DeviceDetails, PortDetails } from '../doctor/device-details.js';
import { table } from './table.js';

const orDash = (value: number | string | null) => (value === null || value === '' ? '-' : String(value));
const rate = (port: PortDetails) => (port.rateGbps === null ? '-' : `${port.rateGbps} Gbit/s`);
const lid = (port: PortDetails) => (port.lid === 0 ? '-' : `0x${port.lid.toString(16).padStart(4, '0')}`);

/** The devices, and below them their ports with the address that would be used. */
export function deviceTables(devices: readonly DeviceDetails[]): string {
  const rows = devices.map((d) => [
    d.name,
    orDash(d.provider),
    d.transport,
    orDash(d.firmware),
    orDash(d.nodeGuid),
    orDash(d.numaNode),
  ]);
  const ports = devices.flatMap((d) => {
    if (d.problem !== null) return [[d.name, 'unusable', '-', '-', '-', '-', '-', '-', '-', d.problem]];
    return d.ports.map((p) => [
      `${d.name}/${p.port}`,
      p.state,
      p.linkLayer,
      String(p.activeMtuBytes),
      rate(p),
      lid(p),
      p.chosen === null ? '-' : `${p.chosen.index}: ${p.chosen.address}`,
      orDash(p.chosen?.type ?? null),
      orDash(p.chosen?.netdev ?? null),
      p.chosen?.why ?? p.problem ?? '-',
    ]);
  });
  return [
    table(['DEVICE', 'PROVIDER', 'TRANSPORT', 'FIRMWARE', 'NODE GUID', '>NUMA'], rows),
    '',
    table(['PORT', 'STATE', 'LINK', '>MTU', '>RATE', 'LID', 'GID', 'TYPE', 'NETDEV', 'WHY'], ports),
  ].join('\n');
}

/** All that a device said: its attributes, and of each port the attributes, the GID table and the partition keys. */
export function deviceDetails(details: DeviceDetails): string {
  const { name, kind, transport, nodeGuid, problem, attributes, ports } = details;
  const lines = [`${name}: ${kind} device, ${transport}, node GUID ${orDash(nodeGuid)}`];
  if (problem !== null) return [...lines, `  unusable: ${problem}`].join('\n');
  const rows = Object.entries(attributes).map(([key, value]) => [
    key,
    Array.isArray(value) ? value.join(' ') || '-' : orDash(value),
  ]);
  lines.push('', indented(table(['ATTRIBUTE', 'VALUE'], rows)));
  for (const port of ports) lines.push('', portDetails(name, port));
  return lines.join('\n');
}

function portDetails(device: string, details: PortDetails): string {
  const { port, chosen, problem, gids, pkeys, ...attributes } = details;
  const rows = Object.entries(attributes).map(([key, value]) => [key, orDash(value)]);
  const entries = gids.map((g) => [
    String(g.index),
    g.address,
    g.gid,
    g.type,
    orDash(g.netdev),
    g.index === chosen?.index ? 'chosen' : g.usable ? 'usable' : 'unusable',
    g.why,
  ]);
  return [
    `port ${port} of ${device}${chosen === null ? `: ${problem}` : `: address ${chosen.index}: ${chosen.address} (${chosen.why})`}`,
    '',
    indented(table(['ATTRIBUTE', 'VALUE'], rows)),
    '',
    entries.length === 0
      ? '  the GID table is empty'
      : indented(table(['>INDEX', 'ADDRESS', 'GID', 'TYPE', 'NETDEV', 'USE', 'WHY'], entries)),
    '',
    `  ${pkeyWords(pkeys)}`,
  ].join('\n');
}

function pkeyWords(pkeys: PortDetails['pkeys']): string {
  if (pkeys === null) return 'the device does not tell its partition keys';
  if (pkeys.length === 0) return 'no partition keys';
  return `partition keys: ${pkeys.map(({ index, pkey }) => `${index}: ${pkey}`).join(', ')}`;
}

const indented = (text: string) => text.replace(/^(?=.)/gm, '  ');
