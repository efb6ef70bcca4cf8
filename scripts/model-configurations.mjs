// The configurations of the ring model: which switches of test/model/sizes.pml, and what must come out.
//
// Invariant: each negative control has a configuration beside it that differs in the one switch and holds.

const give = ['PRODUCERS=2', 'MEMORIES=1', 'SUSPICIONS=1'];
const oneAtATime = ['M=2', 'CELLS_ODD=2', 'CELLS_EVEN=2', 'R=1', 'W=4'];

/** Every message lies in its slot. */
const shortOnes = ['SHORT', 'M=2', 'CELLS_EVEN=1', 'R=1', 'W=4'];

const share = ['SHARED', 'PRODUCERS=2', 'MEMORIES=2', 'K=1', 'M=1', 'CELLS_EVEN=1', 'R=2', 'W=6'];

/**
 * name; switches for spin; liveness: the LTL property with weak fairness, else assertions alone; expect: `clean`, or
 * the property that must break; large: only with --large.
 */
export const configurations = [
  // Safety, whatever fails and whenever.
  { name: 'reconnect', switches: ['R=3', 'W=8', 'BREAKS=1'] },
  { name: 'reconnect-and-fence', switches: ['M=3', 'BREAKS=1', 'SUSPICIONS=1'] },
  { name: 'reconnect-twice', switches: ['M=3', 'BREAKS=2'] },
  { name: 'restart', switches: ['BREAKS=1', 'RESTARTS=1'] },
  { name: 'restart-and-fence', switches: ['M=3', 'RESTARTS=1', 'SUSPICIONS=1'] },
  { name: 'any-order', switches: ['ANY_ORDER', 'K=3', 'R=3', 'W=9', 'BREAKS=1'] },
  { name: 'held-over', switches: ['ANY_ORDER', 'MEMORIES=2', 'M=3', 'BREAKS=1'] },
  { name: 'nothing-or-everything', switches: ['M=2', 'CELLS_ODD=0', 'BREAKS=1', 'RESTARTS=1'] },
  { name: 'quarantine', switches: ['MEMORIES=2', 'M=2', 'SUSPICIONS=1', 'QUARANTINES=1'] },
  { name: 'given-away', switches: [...give, ...oneAtATime, 'CRASHES=1'] },
  { name: 'neighbours', switches: ['PRODUCERS=2', 'MEMORIES=2', ...oneAtATime, 'CRASHES=1', 'SENDS=2'] },
  { name: 'stale-completions', switches: [...give, ...oneAtATime, 'STALE=1'] },
  { name: 'quiet', switches: ['SENDS=5', 'W=8', 'R=3', 'BREAKS=1', 'SUSPICIONS=1', 'RESTARTS=1'] },
  { name: 'pulled', switches: ['PULL', 'BREAKS=1', 'RESTARTS=1'] },
  { name: 'in-place', switches: [...give, ...oneAtATime, 'IN_PLACE'] },
  { name: 'polled', switches: ['POLLED', 'BREAKS=1', 'RESTARTS=1'] },
  { name: 'polled-and-fence', switches: ['POLLED', 'M=3', 'BREAKS=1', 'SUSPICIONS=1'] },
  { name: 'landing', switches: ['LANDINGS', 'BREAKS=1', 'RESTARTS=1'] },
  { name: 'landing-and-fence', switches: ['LANDINGS', 'M=3', 'BREAKS=1', 'SUSPICIONS=1'] },
  { name: 'polled-in-place', switches: [...give, ...oneAtATime, 'IN_PLACE', 'POLLED'] },
  { name: 'short', switches: ['SHORT', 'M=3', 'BREAKS=1'] },
  { name: 'short-and-restart', switches: ['SHORT', 'M=2', 'RESTARTS=1'] },
  { name: 'short-and-fence', switches: [...give, ...shortOnes] },
  { name: 'shared', switches: [...share, 'BREAKS=1'] },
  { name: 'shared-and-restart', switches: [...share, 'RESTARTS=1'] },
  { name: 'shared-and-fence', switches: [...share, 'SUSPICIONS=1'] },

  // Liveness: the first producer is served for ever.
  {
    name: 'live-beside-a-crash',
    liveness: true,
    switches: ['PRODUCERS=2', 'MEMORIES=2', 'K=1', 'M=1', 'CELLS_EVEN=1', 'R=1', 'W=4', 'CRASHES=1'],
  },
  { name: 'live-reconnect', liveness: true, switches: ['M=3', 'BREAKS=1', 'SUSPICIONS=1'] },
  { name: 'live-restart', liveness: true, switches: ['M=3', 'BREAKS=1', 'RESTARTS=1'] },
  { name: 'live-polled', liveness: true, switches: ['POLLED', 'M=3', 'BREAKS=1', 'SUSPICIONS=1'] },
  { name: 'live-landing', liveness: true, switches: ['LANDINGS', 'M=3', 'BREAKS=1', 'SUSPICIONS=1'] },
  { name: 'live-short', liveness: true, switches: ['SHORT', 'M=2', 'R=1', 'W=4', 'BREAKS=1'] },
  { name: 'live-shared', liveness: true, switches: [...share, 'BREAKS=1'] },
  { name: 'live-pulled', liveness: true, switches: ['PULL', 'BREAKS=1'] },

  // Negative controls: one thing is left out, and the property that it serves breaks.
  { name: 'no-fence', expect: 'one_writer', switches: [...give, ...oneAtATime, 'NO_FENCE'] },
  { name: 'no-fence-torn', expect: 'whole', switches: [...give, ...oneAtATime, 'NO_FENCE', 'UNWATCHED'] },
  { name: 'descriptor-first', expect: 'whole', switches: ['DESCRIPTOR_FIRST'] },
  { name: 'polled-descriptor-first', expect: 'whole', switches: ['POLLED', 'DESCRIPTOR_FIRST'] },
  { name: 'polled-no-fence', expect: 'one_writer', switches: [...give, ...oneAtATime, 'POLLED', 'NO_FENCE'] },
  { name: 'no-landing', expect: 'whole', switches: ['LANDINGS', 'NO_LANDING'] },
  { name: 'landing-no-fence', expect: 'one_writer', switches: [...give, ...oneAtATime, 'LANDINGS', 'NO_FENCE'] },
  { name: 'no-epoch', expect: 'whole', switches: [...give, ...oneAtATime, 'STALE=1', 'NO_EPOCH'] },
  { name: 'epoch-per-session', expect: 'whole', switches: [...give, ...oneAtATime, 'STALE=1', 'EPOCH_PER_SESSION'] },
  { name: 'no-watermark', expect: 'in_order', switches: ['BREAKS=1', 'NO_WATERMARK'] },
  { name: 'no-resend', expect: 'credit', switches: ['BREAKS=1', 'NO_RESEND'] },
  {
    name: 'no-resend-live',
    expect: 'always_served',
    liveness: true,
    ignoreAssertions: true,
    switches: ['BREAKS=1', 'NO_RESEND', 'E=255'],
  },
  { name: 'forget-on-release', expect: 'custody', switches: ['FORGET_ON_RELEASE'] },
  { name: 'acknowledge-on-arrival', expect: 'custody', switches: ['ACKNOWLEDGE_ON_ARRIVAL'] },
  { name: 'release-on-take', expect: 'one_writer', switches: ['RELEASE_ON_TAKE'] },
  { name: 'release-on-take-torn', expect: 'whole', switches: ['RELEASE_ON_TAKE', 'UNWATCHED'] },
  { name: 'acknowledge-during-pull', expect: 'whole', switches: ['PULL', 'ACKNOWLEDGE_DURING_PULL'] },
  {
    name: 'pull-on-its-lane',
    expect: 'always_served',
    liveness: true,
    switches: ['PULL', 'BREAKS=1', 'PULL_ON_ITS_LANE'],
  },
  { name: 'no-detach', expect: 'one_writer', switches: [...give, ...oneAtATime, 'IN_PLACE', 'NO_DETACH'] },
  { name: 'short-shown-first', expect: 'whole', switches: ['SHORT', 'M=3', 'SHOWN_FIRST'] },
  { name: 'short-no-detach', expect: 'one_writer', switches: [...give, ...shortOnes, 'NO_DETACH'] },
  { name: 'reuse-on-first-acknowledgement', expect: 'whole', switches: [...share, 'BREAKS=1', 'REUSE_ON_FIRST'] },
  { name: 'reuse-on-release', expect: 'whole', switches: [...share, 'RESTARTS=1', 'REUSE_ON_RELEASE'] },
  { name: 'reuse-on-fence', expect: 'whole', switches: [...share, 'SUSPICIONS=1', 'REUSE_ON_FENCE'] },

  // Minutes each.
  { name: 'large-shared', large: true, switches: [...share, 'BREAKS=1', 'RESTARTS=1'] },
  { name: 'large-reconnect', large: true, switches: ['R=3', 'W=8', 'BREAKS=2', 'SUSPICIONS=1', 'RESTARTS=1'] },
  { name: 'large-held-over', large: true, switches: ['ANY_ORDER', 'MEMORIES=2', 'M=3', 'BREAKS=1', 'RESTARTS=1'] },
  { name: 'large-given-away', large: true, switches: [...give, 'M=2', 'CELLS_EVEN=1', 'CRASHES=1', 'SENDS=2'] },
  { name: 'large-live', large: true, liveness: true, switches: ['BREAKS=1', 'SUSPICIONS=1', 'RESTARTS=1'] },
];
