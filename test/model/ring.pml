/*
 * The ring protocol of docs/ring.md as a model for spin: outboxes, the network, an inbox with its lanes, and faults.
 * `npm run model` checks every configuration; docs/ring-model.md says what each part stands for.
 *
 * Invariant of the model: every step of a process is one action that nobody can look into: a local computation, or one
 * write that arrives. Between any two of them everything else may happen, crashes included.
 */
#include "sizes.pml"
#include "state.pml"
#ifdef SHARED
#include "shared.pml"
#endif
#include "network.pml"
#include "outbox.pml"
#include "inbox.pml"
#include "faults.pml"

/*
 * The first producer lives, so its acknowledgements go round and round: a message that is never acknowledged would stop
 * them. They move by R at most, which is less than half a round, so each half is seen again and again.
 */
#ifdef LIVENESS
#define IN_LOWER_HALF (outbox[0].acknowledged < W / 2)
ltl always_served { ([] <> IN_LOWER_HALF) && ([] <> !IN_LOWER_HALF) }
#endif

init {
  atomic {
    n = 0;
    do
    :: n < PRODUCERS ->
      run Outbox(n);
      run Network(n);
      run Session(n);
      n++
    :: else -> break
    od;
    n = 0;
    do
    :: n < MEMORIES -> run Lane(n); n++
    :: else -> break
    od;
#ifdef SHARED
    run Sender();
#endif
#if FAULTS
    run Faults();
#endif
#ifdef WATCH_QUIET
    run Quiet();
#endif
    n = 0
  }
}
