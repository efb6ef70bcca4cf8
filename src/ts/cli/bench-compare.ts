// The option --compare of the benchmark commands.
//
// Invariant: a peer that was named and cannot be measured is a usage error before anything is measured; `all` means all
// that there are, and what is left out is said.
import { type Command, InvalidArgumentError } from 'commander';
import { findPeers, type NamedPeers, noPeers, type Peers } from '../bench/peers.js';
import { UsageError } from './exit.js';

/** Which peers a benchmark has. */
export type PeersOf<Peer> = (peers: Peers) => NamedPeers<Peer>;

/** Adds the option to a command. */
export function addCompare(command: Command, of: PeersOf<unknown>): Command {
  return command
    .option('--compare <peers>', 'measure these beside it; only in a checkout', (text) => namesIn(text, of))
    .addHelpText('after', () => {
      const peers = findPeers();
      const names = peers === undefined ? 'none here: they need a checkout' : of(peers).names.join(', ');
      return `\nPeers for --compare: ${names}`;
    });
}

function namesIn(text: string, of: PeersOf<unknown>): string[] {
  const wanted = text.split(',').map((name) => name.trim());
  const peers = findPeers();
  if (peers === undefined) return wanted;
  const { names } = of(peers);
  if (wanted.every((name) => names.includes(name))) return wanted;
  throw new InvalidArgumentError(`Give some of ${names.join(', ')}, with commas between.`);
}

/**
 * The peers that were asked for.
 *
 * @param wanted of the option; undefined: nobody
 * @throws UsageError when one was named and there are no peers here
 */
export function comparedWith<Peer>(wanted: readonly string[] | undefined, of: PeersOf<Peer>): Peer[] {
  if (wanted === undefined) return [];
  const peers = peersFor(`--compare ${wanted.join()}`, wanted.includes('all'));
  return peers === undefined ? [] : of(peers).named(wanted);
}

/**
 * The peers of this checkout.
 *
 * @param what needs them
 * @param isOptional without them nothing is compared, and that is said in one line on stderr
 * @throws UsageError when there are none and they are not optional
 */
export function peersFor(what: string, isOptional: true): Peers | undefined;
export function peersFor(what: string, isOptional: false): Peers;
export function peersFor(what: string, isOptional: boolean): Peers | undefined;
export function peersFor(what: string, isOptional: boolean): Peers | undefined {
  const peers = findPeers();
  if (peers !== undefined) return peers;
  const { message } = noPeers(what);
  if (!isOptional) throw new UsageError(message);
  process.stderr.write(`onepiece: measured without peers: ${message}\n`);
  return undefined;
}
