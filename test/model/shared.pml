/*
 * Messages that refer to a block in the producer's memory: each is sent to two edges, outboxes of one process, which
 * keep step. Receivers look at the block where it lies, from delivery until they acknowledge. It is written again when
 * every message that refers to it is acknowledged.
 */
#if PRODUCERS != 2
#error the edges are two outboxes
#endif
#if W % BLOCKS
#error W must be a multiple of BLOCKS
#endif

byte block[BLOCKS]; /* the sequence whose bytes are in it, plus 1 */
byte referring[BLOCKS]; /* one bit for each edge whose message refers to it */

#define BLOCK(q) ((q) % BLOCKS)

/* The application of session p sees what was sent. */
inline look(q) {
  MUST(whole, block[BLOCK(q)] == (q) + 1)
}

/* Block.release(), for message q of edge p. */
inline let_go(p, q) {
#ifdef REUSE_ON_FIRST
  referring[BLOCK(q)] = 0
#else
  referring[BLOCK(q)] = referring[BLOCK(q)] & ~(1 << p)
#endif
}

/* onAcknowledged: everything of edge p up to n. */
inline let_go_up_to(p) {
  s = outbox[p].acknowledged;
  do
  :: s != n -> s = NEXT(s); let_go(p, s)
  :: else -> break
  od;
  s = 0
}

#define MAY_TAKE(p) (outbox[p].phase != DEAD && MORE_TO_SEND(p) && LESS(outbox[p].last, outbox[p].acknowledged) < R)

proctype Sender() {
end:
  do
  :: d_step {
      MAY_TAKE(0) && MAY_TAKE(1) && !referring[BLOCK(NEXT(outbox[0].last))] ->
      outbox[0].last = NEXT(outbox[0].last);
      outbox[1].last = outbox[0].last;
      block[BLOCK(outbox[0].last)] = outbox[0].last + 1;
      referring[BLOCK(outbox[0].last)] = 3
    }
  od
}
