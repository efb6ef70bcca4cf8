// The search for a placement: keeps, fills, takes, spreads.
//
// Invariant: every step makes the smallest part of a group larger, or fills a hole, or puts a group of one host on two:
// an order in which nothing comes twice, so it ends; and it ends where no step is left, so a second run moves nothing.
import type { Group } from './demand.js';
import { GroupHeap } from './group-heap.js';
import { Ledger } from './ledger.js';
import type { NodeInfo } from './nodes.js';
import { hasLabels } from './unplaced.js';

/** One instance, by numbers. */
export interface Placed {
  readonly instance: number;
  readonly node: number;
  readonly gpus: readonly number[];
}

// What a choice of node counts for; a larger one outweighs all smaller ones together.
const KEEPS_HALF_ELSEWHERE = 1e6;
const KEEPS_HALF_ON_OTHER_HOSTS = 1e5;
const SHARES_MEMORY = 1000;
const REACHES = 300;
const LEAVES_GPUS_ALONE = 50;
/** The part of a group that cannot run anyway: more than all others have. */
const IDLE = 1e9;

export class PlacementSearch {
  readonly ledger: Ledger;
  private readonly groups: readonly Group[];
  private readonly nodes: readonly NodeInfo[];
  private readonly isIdle: readonly boolean[];
  private readonly allowed: Uint8Array[]; // by group: nodes that have its labels and do not drain
  private readonly places: Placed[][]; // by group
  private readonly spare: number[][]; // by group: numbers of instances that lost their node
  private readonly onNode: Int32Array[]; // instances, by group and node
  private readonly onHost: Int32Array[];
  private readonly onFabric: Int32Array[];
  private readonly hostOf: Int32Array;
  private readonly fabricsOf: readonly (readonly number[])[];
  private readonly nearHost: Float64Array; // to the neighbours of one group, see scoreNeighbours()
  private readonly nearFabric: Float64Array;
  private readonly used: Float64Array; // by node, see Ledger.usedShare

  /** @param isIdle by group: whether it can serve nobody, wherever it is */
  constructor(groups: readonly Group[], nodes: readonly NodeInfo[], isIdle: readonly boolean[]) {
    this.groups = groups;
    this.nodes = nodes;
    this.isIdle = isIdle;
    this.ledger = new Ledger(nodes);
    const [hosts, fabrics] = [new Map<string, number>(), new Map<string, number>()];
    const numberOf = (map: Map<string, number>, name: string) => {
      const known = map.get(name) ?? map.size;
      map.set(name, known);
      return known;
    };
    this.hostOf = Int32Array.from(nodes, ({ host }) => numberOf(hosts, host));
    this.fabricsOf = nodes.map(({ devices }) => [...new Set(devices.map((each) => numberOf(fabrics, each.fabric)))]);
    const byLabels = new Map<string, Uint8Array>();
    this.allowed = groups.map(({ need: { resources } }) => {
      const key = JSON.stringify(resources.labels);
      const known = byLabels.get(key);
      if (known !== undefined) return known;
      const list = Uint8Array.from(nodes, (node) => (!node.draining && hasLabels(node, resources.labels) ? 1 : 0));
      byLabels.set(key, list);
      return list;
    });
    this.places = groups.map(() => []);
    this.spare = groups.map(() => []);
    this.onNode = groups.map(() => new Int32Array(nodes.length));
    this.onHost = hosts.size === nodes.length ? this.onNode : groups.map(() => new Int32Array(hosts.size));
    this.onFabric = groups.map(() => new Int32Array(fabrics.size));
    if (this.onHost === this.onNode) for (let i = 0; i < nodes.length; i++) this.hostOf[i] = i;
    this.nearHost = new Float64Array(nodes.length);
    this.nearFabric = new Float64Array(fabrics.size);
    this.used = Float64Array.from(nodes, (_, node) => this.ledger.usedShare(node));
  }

  /** The instances of a group that have a node, by number. */
  placesOf(group: number): readonly Placed[] {
    return [...this.places[group]!].sort((a, b) => a.instance - b.instance);
  }

  /** An instance that exists stays where it is, if it can; if not, its number stays. @param node -1: it is gone */
  keep(group: number, instance: number, node: number, gpus: readonly number[]): void {
    const { need } = this.groups[group]!;
    if (node >= 0 && this.allowed[group]![node] === 1 && this.ledger.fitsOn(node, need, gpus)) {
      this.add(group, { instance, node, gpus: [...gpus].sort((a, b) => a - b) });
    } else {
      this.spare[group]!.push(instance);
    }
  }

  /** Places what is wanted. */
  run(): void {
    for (let group = 0; group < this.groups.length; group++) this.shrink(group);
    do {
      do this.fill();
      while (this.takeOnce());
    } while (this.spreadOnce());
  }

  private add(group: number, placed: Placed): void {
    this.book(group, placed, 1);
    this.places[group]!.push(placed);
  }

  private remove(group: number, placed: Placed): void {
    this.book(group, placed, -1);
    const list = this.places[group]!;
    list.splice(list.indexOf(placed), 1);
  }

  private book(group: number, { node, gpus }: Placed, sign: 1 | -1): void {
    const { need } = this.groups[group]!;
    if (sign === 1) this.ledger.take(node, need, gpus);
    else this.ledger.give(node, need, gpus);
    this.used[node] = this.ledger.usedShare(node);
    this.onNode[group]![node]! += sign;
    if (this.onHost !== this.onNode) this.onHost[group]![this.hostOf[node]!]! += sign;
    for (const fabric of this.fabricsOf[node]!) this.onFabric[group]![fabric]! += sign;
  }

  /** How much of what it wants a group has, by its weight. */
  private part(group: number, placed: number): number {
    const { wanted, weight } = this.groups[group]!;
    return (this.isIdle[group] ? IDLE : 0) + placed / (wanted * weight);
  }

  // Gives back what is not wanted any more: where most of the group is, then the latest.
  private shrink(group: number): void {
    const list = this.places[group]!;
    const counts = this.onNode[group]!;
    while (list.length > this.groups[group]!.wanted) {
      let last = list[0]!;
      for (const each of list) {
        const more = counts[each.node]! - counts[last.node]!;
        if (more > 0 || (more === 0 && each.instance > last.instance)) last = each;
      }
      this.remove(group, last);
    }
  }

  // One instance after the other for the group with the smallest part; of equal ones the largest need first.
  private fill(): void {
    const sizes = this.groups.map(({ need: { resources: r } }) => r.gpus * (r.gpuMemoryBytes || 2 ** 50) || r.cores);
    const heap = new GroupHeap((a, b) => {
      const less = this.part(a, this.places[a]!.length) - this.part(b, this.places[b]!.length);
      return less || sizes[b]! - sizes[a]! || a - b;
    });
    for (let group = 0; group < this.groups.length; group++) {
      if (this.places[group]!.length < this.groups[group]!.wanted) heap.push(group);
    }
    for (let group = heap.pop(); group !== undefined; group = heap.pop()) {
      const node = this.bestNode(group);
      if (node < 0) continue; // and nothing that comes later makes room
      this.add(group, this.placedOn(group, node, this.nextInstance(group)));
      if (this.places[group]!.length < this.groups[group]!.wanted) heap.push(group);
    }
  }

  private placedOn(group: number, node: number, instance: number): Placed {
    return { instance, node, gpus: this.ledger.choose(node, this.groups[group]!.need) };
  }

  private nextInstance(group: number): number {
    const known = this.spare[group]!.shift();
    if (known !== undefined) return known;
    const used = new Set(this.places[group]!.map(({ instance }) => instance));
    let number = 0;
    while (used.has(number)) number++;
    return number;
  }

  /** The best node on which an instance fits; -1: there is none. @param besidesHost a host that is no choice */
  private bestNode(group: number, besidesHost = -1): number {
    const { need, wanted } = this.groups[group]!;
    const { ledger, nearHost, used, hostOf } = this;
    const hasFabrics = this.nearFabric.length > 0;
    const allowed = this.allowed[group]!;
    const [onNode, onHost] = [this.onNode[group]!, this.onHost[group]!];
    const half = Math.max(1, Math.ceil(wanted / 2));
    this.scoreNeighbours(group);
    let [best, bestScore] = [-1, Number.NEGATIVE_INFINITY];
    for (let node = 0; node < used.length; node++) {
      if (allowed[node] === 0) continue;
      let sum = nearHost[hostOf[node]!]! - used[node]!;
      if (hasFabrics) sum += this.reach(node);
      if (onNode[node]! < half) sum += KEEPS_HALF_ELSEWHERE;
      if (onHost[hostOf[node]!]! < half) sum += KEEPS_HALF_ON_OTHER_HOSTS;
      if (need.resources.gpus === 0 && ledger.unusedGpus(node) === 0) sum += LEAVES_GPUS_ALONE;
      if (sum <= bestScore || hostOf[node] === besidesHost || !ledger.fits(node, need)) continue;
      best = node;
      bestScore = sum;
    }
    return best;
  }

  // How near each host and each fabric is to the groups that exchange data with this one.
  private scoreNeighbours(group: number): void {
    const { nearHost, nearFabric } = this;
    nearHost.fill(0);
    nearFabric.fill(0);
    for (const { group: other, weight } of this.groups[group]!.neighbours) {
      const list = this.places[other]!;
      const near = (SHARES_MEMORY * weight) / list.length;
      for (const { node } of list) nearHost[this.hostOf[node]!]! += near;
      const onFabric = this.onFabric[other]!;
      const reach = (REACHES * weight) / list.length;
      if (list.length > 0) for (let i = 0; i < onFabric.length; i++) nearFabric[i]! += onFabric[i]! * reach;
    }
  }

  private reach(node: number): number {
    let most = 0;
    for (const fabric of this.fabricsOf[node]!) if (this.nearFabric[fabric]! > most) most = this.nearFabric[fabric]!;
    return most;
  }

  // Who has the smallest part takes from those who keep more than it has.
  private takeOnce(): boolean {
    const parts = this.groups.map((_, i) => this.part(i, this.places[i]!.length));
    const poor = this.groups
      .map((_, i) => i)
      .filter((i) => this.places[i]!.length < this.groups[i]!.wanted)
      .sort((a, b) => parts[a]! - parts[b]! || a - b);
    if (poor.length === 0) return false;
    const byNode: { group: number; placed: Placed; left: number }[][] = this.nodes.map(() => []);
    for (const [group, list] of this.places.entries()) {
      const left = this.part(group, list.length - 1);
      for (const placed of list) byNode[placed.node]!.push({ group, placed, left });
    }
    for (const list of byNode) {
      list.sort((a, b) => b.left - a.left || b.group - a.group || b.placed.instance - a.placed.instance);
    }
    for (const group of poor) {
      const victims = this.fewestVictims(group, parts[group]!, byNode);
      if (victims === undefined) continue;
      for (const { group: other, placed } of victims) {
        this.remove(other, placed);
        this.spare[other]!.push(placed.instance);
      }
      const { node } = victims[0]!.placed;
      this.add(group, this.placedOn(group, node, this.nextInstance(group)));
      return true;
    }
    return false;
  }

  private fewestVictims(
    group: number,
    part: number,
    byNode: readonly (readonly { group: number; placed: Placed; left: number }[])[],
  ): { group: number; placed: Placed }[] | undefined {
    const { need } = this.groups[group]!;
    let fewest: { group: number; placed: Placed }[] | undefined;
    for (let node = 0; node < byNode.length; node++) {
      if (this.allowed[group]![node] === 0) continue;
      const given: { group: number; placed: Placed }[] = [];
      const counts = new Map<number, number>();
      for (const { group: other, placed } of byNode[node]!) {
        if (other === group) continue;
        const less = (counts.get(other) ?? 0) + 1;
        if (this.part(other, this.places[other]!.length - less) <= part) continue;
        if (fewest !== undefined && given.length + 1 >= fewest.length) break;
        counts.set(other, less);
        this.ledger.give(node, this.groups[other]!.need, placed.gpus);
        given.push({ group: other, placed });
        if (!this.ledger.fits(node, need)) continue;
        fewest = [...given];
        break;
      }
      for (const { group: other, placed } of given) this.ledger.take(node, this.groups[other]!.need, placed.gpus);
    }
    return fewest;
  }

  // The death of a host must not take a whole group.
  private spreadOnce(): boolean {
    for (const [group, list] of this.places.entries()) {
      if (list.length < 2) continue;
      const host = this.hostOf[list[0]!.node]!;
      if (list.some(({ node }) => this.hostOf[node] !== host)) continue;
      const node = this.bestNode(group, host);
      if (node < 0) continue;
      const last = list.reduce((a, b) => (b.instance > a.instance ? b : a));
      this.remove(group, last);
      this.add(group, this.placedOn(group, node, last.instance));
      return true;
    }
    return false;
  }
}
