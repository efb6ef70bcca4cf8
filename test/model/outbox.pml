/*
 * An outbox: takes messages into retained memory, writes them with credit, reads control blocks, and reconnects. A pause
 * between any two steps is a stopped producer; what it does after the pause, a late writer that woke.
 */

/* Connection.fill(): where the message after `sent` lies, and whether it has credit. */
#define FOLLOWING(p) NEXT(outbox[p].sent)
#define PLACE_OF(p) PLACE(outbox[p].tail, FOLLOWING(p))
#define OLDEST(p) (outbox[p].sent == outbox[p].released -> PLACE_OF(p) : outbox[p].starts[NEXT(outbox[p].released) % K])
#define CREDIT(p) (outbox[p].sent != outbox[p].last && LESS(FOLLOWING(p), outbox[p].released) <= K \
  && PLACE_OF(p) + ROOM(FOLLOWING(p)) - OLDEST(p) <= M)

/* The next message is `sent`, and lies at AT(p). */
#define AT(p) (outbox[p].starts[outbox[p].sent % K] % M)
inline place_message(p) {
  start = PLACE_OF(p);
  outbox[p].sent = FOLLOWING(p);
  outbox[p].starts[outbox[p].sent % K] = start;
  outbox[p].tail = start + ROOM(outbox[p].sent);
  lower_positions(outbox[p], outbox[p].sent == outbox[p].released)
}

inline post_payload(p) {
#ifndef IN_PLACE
  i = 0;
  do
  :: i < LENGTH(outbox[p].sent) && !INLINE(outbox[p].sent) -> toInbox[p] ! PAYLOAD, outbox[p].sent, AT(p) + i, 0; i++
  :: else -> break
  od;
#endif
  skip
}

/*
 * Connection.transmit(): one batch, payload before descriptor; the last descriptor names how many there are. Scratch must
 * not live across the choice.
 */
inline transmit(p) {
  do
  :: d_step {
#ifdef DESCRIPTOR_FIRST
      place_message(p);
      toInbox[p] ! DESCRIPTOR, outbox[p].sent, AT(p), 1;
      post_payload(p)
    };
    break
#else
      place_message(p);
      post_payload(p)
    };
    batch++;
#ifdef LANDINGS
    outside = outside + (INLINE(outbox[p].sent) -> 0 : 1);
#endif
    if
    :: toInbox[p] ! DESCRIPTOR, outbox[p].sent, AT(p), batch; break
#ifndef IN_PLACE
    :: CREDIT(p) -> toInbox[p] ! DESCRIPTOR, outbox[p].sent, AT(p), 0
#endif
    fi
#endif
  od;
#ifdef LANDINGS
  if
  :: outside > 0 -> toInbox[p] ! LANDING, 0, 0, outside
  :: else
  fi;
  outside = 0;
#endif
  batch = 0
}

/* Connection.controlArrived() and RetainedMessages.acknowledge() */
inline read_control(p) {
  outbox[p].news = 0;
  n = outbox[p].toldReleased;
  if
  :: LESS(n, outbox[p].released) <= LESS(outbox[p].sent, outbox[p].released) ->
    /* starts of what is not held any more: nobody reads them */
    do
    :: outbox[p].released != n ->
      outbox[p].released = NEXT(outbox[p].released);
#ifdef REUSE_ON_RELEASE
      let_go(p, outbox[p].released);
#endif
      outbox[p].starts[outbox[p].released % K] = 0
    :: else -> break
    od
  :: else
  fi;
  lower_positions(outbox[p], outbox[p].sent == outbox[p].released);
  n = outbox[p].toldAcknowledged;
#ifdef FORGET_ON_RELEASE
  n = outbox[p].released;
#endif
  acknowledged_up_to(p);
  outbox[p].toldReleased = 0;
  outbox[p].toldAcknowledged = 0
}

/* Forgets everything up to `n`: its memory may be overwritten by the next message that is taken. */
inline acknowledged_up_to(p) {
  MUST(custody, LESS(n, outbox[p].acknowledged) <= LESS(custodian[p], outbox[p].acknowledged));
#if defined(SHARED) && !defined(REUSE_ON_RELEASE)
  let_go_up_to(p);
#endif
  outbox[p].acknowledged = n
}

/* Outbox.lose(): the queue pair is destroyed, and what it had in flight goes with it. */
inline lose(p) {
  do
  :: toInbox[p] ? _, _, _, _
  :: empty(toInbox[p]) -> break
  od;
  if
  :: toOutbox[p] ? _, _
  :: empty(toOutbox[p])
  fi;
  outbox[p].news = 0;
  outbox[p].toldReleased = 0;
  outbox[p].toldAcknowledged = 0;
  outbox[p].released = 0;
  outbox[p].tail = 0;
  outbox[p].memory = 0;
  outbox[p].serial = 0;
  outbox[p].epoch = 0;
#ifndef NO_RESEND
  outbox[p].sent = 0;
#endif
#ifdef IN_PLACE
  outbox[p].built = 0;
#endif
#ifdef REUSE_ON_FENCE
  i = 0;
  do
  :: i < BLOCKS -> let_go(p, i); i++
  :: else -> break
  od;
#endif
  i = 0;
  do
  :: i < K -> outbox[p].starts[i] = 0; i++
  :: else -> break
  od;
  outbox[p].phase = LOST
}

/* Outbox.negotiateWith() and begin(): memory m was answered. */
inline begin(p, m) {
  n = lane[m].began; /* the answer's `delivered`; nothing is taken before the outbox has begun */
  MUST(history, LESS(n, outbox[p].acknowledged) <= LESS(outbox[p].last, outbox[p].acknowledged));
  outbox[p].phase = UP;
  outbox[p].memory = m;
  outbox[p].serial = lane[m].serial;
  outbox[p].epoch = lane[m].epoch;
#ifndef NO_RESEND
  outbox[p].sent = n;
#endif
  outbox[p].released = n;
  n = lane[m].reportedAcknowledged;
  acknowledged_up_to(p)
}

#ifdef SHORT
#define store_cell(n, at, s, p) \
  if :: IN_SLOT(s) -> store_in_slot(n, s % K, TAG(p, s), p) :: else -> write_cell(n, at, TAG(p, s), p) fi
#else
#define store_cell(n, at, s, p) write_cell(n, at, TAG(p, s), p)
#endif

#ifdef IN_PLACE
/* One cell of the message that is built in the lane itself. Pages that the inbox has detached are nobody else's. */
inline build(p) {
  s = FOLLOWING(p);
  n = outbox[p].memory;
  at = PLACE_OF(p) % M + outbox[p].built - 1;
  if
#ifdef NO_DETACH
  :: true -> store_cell(n, at, s, p)
#else
  :: ALIVE(n, outbox[p].serial) -> store_cell(n, at, s, p)
  :: else
#endif
  fi;
  outbox[p].built++
}
#endif

proctype Outbox(byte p) {
  byte batch; /* messages of the batch that is being posted */
#ifdef LANDINGS
  byte outside; /* of those, whose bytes are in the data ring */
#endif
end:
  do
#ifndef SHARED
  /* trySend() */
  :: d_step {
      outbox[p].phase != DEAD && MORE_TO_SEND(p) && LESS(outbox[p].last, outbox[p].acknowledged) < R ->
      outbox[p].last = NEXT(outbox[p].last)
    }
#endif
#ifdef FINITE
  :: d_step { outbox[p].phase != DEAD && !outbox[p].done -> outbox[p].done = 1 }
#endif
  :: atomic {
      outbox[p].phase == UP && CREDIT(p) ->
#ifdef IN_PLACE
      if
#ifdef SHOWN_FIRST
      /* Its descriptor is there before the message is. */
      :: outbox[p].built == LENGTH(FOLLOWING(p)) + 1 -> outbox[p].built = 0; d_step { place_message(p) }
      :: outbox[p].built == 0 -> toInbox[p] ! DESCRIPTOR, FOLLOWING(p), PLACE_OF(p) % M, 1; outbox[p].built = 1
#else
      :: outbox[p].built == LENGTH(FOLLOWING(p)) + 1 -> outbox[p].built = 0; transmit(p)
      :: outbox[p].built == 0 -> outbox[p].built = 1
#endif
      :: else -> d_step { build(p) }
      fi
#else
      transmit(p)
#endif
    }
  :: d_step { outbox[p].phase == UP && outbox[p].news -> read_control(p) }
  /* A completion in error, the end of the bootstrap channel, or a handshake that nobody answers any more. */
  :: d_step { outbox[p].phase == UP && !ALIVE(outbox[p].memory, outbox[p].serial) -> lose(p) }
  :: d_step { outbox[p].phase == ASKED && !ASKING(p) && !ANSWER(p, 0) && !ANSWER(p, MEMORIES - 1) -> lose(p) }
  :: d_step {
      outbox[p].phase == LOST && nfull(offers[p]) ->
      outbox[p].ticket = (outbox[p].ticket + 1) % 4;
      offers[p] ! outbox[p].ticket, outbox[p].acknowledged;
      outbox[p].phase = ASKED
    }
  :: d_step { outbox[p].phase == ASKED && ANSWER(p, 0) -> begin(p, 0) }
#if MEMORIES > 1
  :: d_step { outbox[p].phase == ASKED && ANSWER(p, 1) -> begin(p, 1) }
#endif
  od
}
