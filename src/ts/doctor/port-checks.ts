// Checks of devices and ports: whether they open, are up, have an address, and how large their packets are.
//
// Invariant: pure functions of the device details and the recorded machine; only verbs devices are looked at.
import type { DeviceDetails, PortDetails } from './device-details.js';
import { type Finding, note, ok, problem, warning } from './finding.js';
import type { Observation } from './observation.js';
import { numberIn, type System } from './system.js';

export function portChecks(system: System, { devices, memoryProblems }: Observation): Finding[] {
  const verbs = devices.filter(({ kind }) => kind === 'verbs');
  const oneIsActive = verbs.some(({ ports }) => ports.some(({ state }) => state === 'active'));
  const findings = verbs.flatMap((device) => {
    const { name, problem: why, ports } = device;
    if (why !== null) {
      return [
        problem('open', `${name} cannot be opened or asked: ${why}`, 'see the device files, and the log of the kernel'),
      ];
    }
    const memory = memoryProblems[name];
    const registered =
      memory === undefined
        ? ok('memory', `memory can be registered on ${name}`)
        : problem('memory', `memory cannot be registered on ${name}: ${memory}`, 'raise RLIMIT_MEMLOCK (ulimit -l)');
    return [registered, ...ports.flatMap((port) => portFindings(system, device, port, oneIsActive))];
  });
  if (verbs.some(({ transport }) => transport === 'RoCE')) {
    const remedy = 'if a connection times out between hosts: open it both ways, in the firewalls of hosts and network';
    findings.push(note('firewall', 'RoCE v2 goes over UDP port 4791', remedy));
  }
  return findings;
}

function portFindings(system: System, device: DeviceDetails, port: PortDetails, oneIsActive: boolean): Finding[] {
  const where = `port ${port.port} of ${device.name}`;
  if (port.state !== 'active') {
    const remedy =
      port.linkLayer === 'InfiniBand'
        ? 'look at the cable and the switch, and whether a subnet manager runs (opensm)'
        : 'bring its network interface up: ip link set dev NAME up';
    const seen = `${where} is ${port.state} (${port.physicalState})`;
    return [oneIsActive ? warning('port', seen, remedy) : problem('port', seen, remedy)];
  }
  return [...address(where, port), ...mtu(system, where, port)];
}

function address(where: string, { chosen, problem: why, gids, linkLayer }: PortDetails): Finding[] {
  if (chosen === null) {
    const remedy = 'give its network interface an IP address; `onepiece devices --verbose` shows the whole table';
    return [problem('gid', why ?? `${where} has no usable address (GID)`, remedy)];
  }
  const usable = gids.filter((entry) => entry.usable);
  if (linkLayer === 'Ethernet' && usable.length > 0) {
    if (usable.every(({ type }) => type === 'RoCE v1')) {
      const remedy = 'enable RoCE v2 in the driver: v1 does not cross routers, and peers with v2 do not hear it';
      return [warning('gid', `${where} has only RoCE v1 addresses: ${chosen.address}`, remedy)];
    }
    if (usable.every(({ gid }) => gid.startsWith('fe80'))) {
      const remedy = `reaches peers on one link only: give ${chosen.netdev || 'its network interface'} an IP address`;
      return [warning('gid', `${where} has only link-local addresses: ${chosen.address}`, remedy)];
    }
  }
  return [ok('gid', `${where} is active, reached at ${chosen.index}: ${chosen.address} (${chosen.why})`)];
}

function mtu(system: System, where: string, port: PortDetails): Finding[] {
  const { activeMtuBytes: active, maxMtuBytes: max, linkLayer, chosen } = port;
  if (linkLayer !== 'Ethernet') return [];
  const netdev = chosen?.netdev ?? '';
  const carried = netdev === '' ? undefined : numberIn(system, `/sys/class/net/${netdev}/mtu`);
  if (carried === undefined) return [];
  const seen = `${where} sends packets of ${active} bytes; ${netdev} has MTU ${carried}`;
  if (active > carried) {
    return [warning('mtu', `${seen}, which is less`, `raise it: ip link set dev ${netdev} mtu ${max + 200}`)];
  }
  if (active === max) return [ok('mtu', seen)];
  const remedy = `for packets of ${max} bytes, if the whole network carries them: ip link set dev ${netdev} mtu ${max + 200}`;
  return [note('mtu', seen, remedy)];
}
