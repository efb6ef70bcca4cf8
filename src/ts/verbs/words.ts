// What a device's numbers mean, in words.
//
// Invariant: pure; a number without a name keeps its number, so that nothing new is hidden.
// Source: <infiniband/verbs.h>, ibv_query_device_ex(3), ibv_query_port(3).

const capabilities: Readonly<Record<number, string>> = {
  0: 'RESIZE_MAX_WR',
  1: 'BAD_PKEY_CNTR',
  2: 'BAD_QKEY_CNTR',
  3: 'RAW_MULTI',
  4: 'AUTO_PATH_MIG',
  5: 'CHANGE_PHY_PORT',
  6: 'UD_AV_PORT_ENFORCE',
  7: 'CURR_QP_STATE_MOD',
  8: 'SHUTDOWN_PORT',
  9: 'INIT_TYPE',
  10: 'PORT_ACTIVE_EVENT',
  11: 'SYS_IMAGE_GUID',
  12: 'RC_RNR_NAK_GEN',
  13: 'SRQ_RESIZE',
  14: 'N_NOTIFY_CQ',
  17: 'MEM_WINDOW',
  18: 'UD_IP_CSUM',
  20: 'XRC',
  21: 'MEM_MGT_EXTENSIONS',
  23: 'MEM_WINDOW_TYPE_2A',
  24: 'MEM_WINDOW_TYPE_2B',
  25: 'RC_IP_CSUM',
  26: 'RAW_IP_CSUM',
  29: 'MANAGED_FLOW_STEERING',
  34: 'RAW_SCATTER_FCS',
  36: 'PCI_WRITE_END_PADDING',
};

function bitNames(bits: bigint, names: Readonly<Record<number, string>>): string[] {
  const found: string[] = [];
  for (let bit = 0; bit < 64; bit++) {
    if (((bits >> BigInt(bit)) & 1n) === 1n) found.push(names[bit] ?? `bit ${bit}`);
  }
  return found;
}

/** `DeviceAttributes.capabilities` as the names of ibv_device_cap_flags, lowest bit first. */
export function capabilityNames(bits: bigint): string[] {
  return bitNames(bits, capabilities);
}

/** `odpCapabilities`: SUPPORT (on-demand paging at all), IMPLICIT (a region of the whole address space). */
export function odpCapabilityNames(bits: number): string[] {
  return bitNames(BigInt(bits), { 0: 'SUPPORT', 1: 'IMPLICIT' });
}

/** `odpRc`, `odpUc` and `odpUd`: the operations that may fault pages in. */
export function odpOperationNames(bits: number): string[] {
  return bitNames(BigInt(bits), { 0: 'SEND', 1: 'RECV', 2: 'WRITE', 3: 'READ', 4: 'ATOMIC', 5: 'SRQ_RECV' });
}

/** `atomicCapability` (ibv_atomic_cap). */
export function atomicWords(capability: number): string {
  const words = ['none', 'among operations of this device', 'with every access to memory'];
  return words[capability] ?? `atomic capability ${capability}`;
}

/** `PortAttributes.state` (ibv_port_state). */
export function portStateWords(state: number): string {
  const words = ['no state change', 'down', 'initializing', 'armed', 'active', 'active, deferred'];
  return words[state] ?? `state ${state}`;
}

/** `PortAttributes.physicalState`; 0, which the software device says, is "unknown". */
export function physicalStateWords(state: number): string {
  const words = [
    ...['unknown', 'sleep', 'polling', 'disabled', 'training', 'link up', 'link error recovery', 'physical test'],
  ];
  return words[state] ?? `physical state ${state}`;
}

/** `PortAttributes.linkLayer` (LinkLayer). */
export function linkLayerWords(linkLayer: number): string {
  const words = ['unspecified', 'InfiniBand', 'Ethernet', 'shared memory'];
  return words[linkLayer] ?? `link layer ${linkLayer}`;
}

const lanesOf: Readonly<Record<number, number>> = { 1: 1, 2: 4, 4: 8, 8: 12, 16: 2 };
const gbpsOf: Readonly<Record<number, number>> = {
  1: 2.5,
  2: 5,
  4: 10,
  8: 10,
  16: 14,
  32: 25,
  64: 50,
  128: 100,
  256: 200,
};

/**
 * The rate of a link in Gbit/s, as its kind is named: 4x EDR is 100.
 *
 * @param width `activeWidth`; @param speed `activeSpeed`
 * @returns undefined when the device does not say, or says what has no name
 */
export function linkRateGbps(width: number, speed: number): number | undefined {
  const lanes = lanesOf[width];
  const gbps = gbpsOf[speed];
  return lanes === undefined || gbps === undefined ? undefined : lanes * gbps;
}
