/*
 * The inbox: for each memory what happens to the lane in it (take, release, report, fence), and for each producer what is
 * remembered of it (open, acknowledge). The application releases and acknowledges in separate steps, whenever it likes.
 */

/* The message under the descriptor is what the producer sent. */
inline check_content(m, q) {
#ifdef SHORT
  if
  :: IN_SLOT(q) -> MUST(whole, lane[m].slotCell[q % K] == TAG(lane[m].producer, q))
  :: else
  fi;
#endif
  i = 0;
  do
  :: i < ROOM(q) ->
    MUST(whole, lane[m].data[start % M + i] == TAG(lane[m].producer, q));
    i++
  :: else -> break
  od
}

#ifdef NO_EPOCH
#define EPOCH_AGREES(m, s) true
#else
#define EPOCH_AGREES(m, s) (lane[m].slotEpoch[(s) % K] == lane[m].epoch)
#endif

/* Lane.take(): only the descriptor that must come is believed. */
inline take(m) {
  n = lane[m].producer;
  s = NEXT(lane[m].taken);
  start = PLACE(lane[m].tail, s);
  finish = start + ROOM(s);
  oldest = (lane[m].taken == lane[m].released -> start : lane[m].starts[NEXT(lane[m].released) % K]);
  ok = lane[m].slotSequence[s % K] == s &&
    lane[m].slotOffset[s % K] == start % M &&
    HELD(m) < K && finish - oldest <= M &&
    LESS(session[n].delivered, session[n].acknowledged) < R &&
    EPOCH_AGREES(m, s);
#ifndef UNWATCHED
  MUST(credit, ok || STALE);
#endif
  if
  :: ok ->
#ifndef POLLED
    lane[m].announced--;
#endif
#if defined(LANDINGS) && !defined(NO_LANDING)
    lane[m].announced = lane[m].announced - (INLINE(s) -> 0 : 1);
#endif
    lane[m].starts[s % K] = start;
    lane[m].tail = finish;
    lane[m].taken = s;
    lower_positions(lane[m], false);
#if !STALE
    forget_slot(m, s % K);
#endif
    deliver(n, s);
    check_content(m, s)
  :: else ->
    /* Nothing more of this lane is believed. */
    lane[m].announced = 0;
    lane[m].state = CONDEMNED
  fi
}

/* What nobody looks at again is cleared, so that states which differ in nothing else are one. */
inline forget_slot(m, slot) {
  lane[m].slotEpoch[slot] = 0;
  lane[m].slotSequence[slot] = 0;
  lane[m].slotOffset[slot] = 0
}

/* The application gets a message; `seen` and `begun` are not known to the protocol. */
inline deliver(p, q) {
  session[p].delivered = q;
  if
  :: session[p].begun -> MUST(in_order, q == NEXT(session[p].seen))
  :: else ->
    /* A new inbox begins with what nobody has acknowledged, or before. */
    MUST(in_order, LESS(q, outbox[p].acknowledged) >= 1 &&
      LESS(q, outbox[p].acknowledged) <= LESS(custodian[p], outbox[p].acknowledged) + 1)
  fi;
#ifdef SHARED
  look(q);
#endif
  session[p].begun = 1;
  session[p].seen = q
}

/* InboxMessage.release(): until now the message has to be as it was delivered. */
inline release(m, q) {
  start = lane[m].starts[q % K];
  check_content(m, q);
#ifndef RELEASE_ON_TAKE
  clear_content(m, q);
#endif
  lane[m].releasedFlags[q % K] = 1;
  do
  :: lane[m].released != lane[m].taken && lane[m].releasedFlags[NEXT(lane[m].released) % K] ->
    lane[m].released = NEXT(lane[m].released);
    lane[m].releasedFlags[lane[m].released % K] = 0;
    lane[m].starts[lane[m].released % K] = 0
  :: else -> break
  od;
  lower_positions(lane[m], HELD(m) == 0);
  if
  :: lane[m].state == ENDED && HELD(m) == 0 -> close_memory(m)
  :: else
  fi
}

inline clear_content(m, q) {
#ifdef SHORT
  if
  :: IN_SLOT(q) -> lane[m].slotCell[q % K] = 0
  :: else
  fi;
#endif
  i = 0;
  do
  :: i < ROOM(q) -> lane[m].data[start % M + i] = 0; i++
  :: else -> break
  od
}

/* Lane.closeMemory(): from now on the memory may be given to another lane. Old descriptors are left in it. */
inline close_memory(m) {
  lane[m].state = FREE;
  reset_lane(m)
}

inline reset_lane(m) {
  i = 0;
  do
  :: i < M -> lane[m].data[i] = 0; i++
  :: else -> break
  od;
  i = 0;
  do
  :: i < K ->
    lane[m].starts[i] = 0;
    lane[m].releasedFlags[i] = 0;
#ifdef SHORT
    lane[m].slotCell[i] = 0;
#endif
#if !STALE
    forget_slot(m, i);
#endif
    i++
  :: else -> break
  od;
  lane[m].producer = 0;
  lane[m].ticket = 0;
  lane[m].epoch = 0;
  lane[m].began = 0;
  lane[m].taken = 0;
  lane[m].released = 0;
  lane[m].tail = 0;
  lane[m].reportedReleased = 0;
  lane[m].reportedAcknowledged = 0
}

/*
 * Lane.fence(), and what is left of the lane. Completions that were not handled are gone with the queue pair; with -D STALE
 * they stay, and the number of the queue pair is given again.
 */
inline fence(m) {
  if
  :: stale > 0 && lane[m].announced > 0 -> stale--
  :: else -> lane[m].announced = 0
  fi;
  if
  :: HELD(m) > 0 -> lane[m].state = ENDED
  :: else -> close_memory(m)
  fi
}

/* Lane.flush(): one report at a time. */
#ifdef RELEASE_ON_TAKE
#define GIVEN_BACK(m) lane[m].taken
#else
#define GIVEN_BACK(m) lane[m].released
#endif
#ifdef ACKNOWLEDGE_ON_ARRIVAL
#define ACKNOWLEDGED(p) session[p].delivered
#else
#define ACKNOWLEDGED(p) session[p].acknowledged
#endif

inline flush(m) {
  n = lane[m].producer;
  toOutbox[n] ! GIVEN_BACK(m), ACKNOWLEDGED(n);
  lane[m].reportedReleased = GIVEN_BACK(m);
  lane[m].reportedAcknowledged = ACKNOWLEDGED(n)
}

/*
 * Whether the next message can be taken: its completion has come, or, of a lane that is polled, its descriptor stands there,
 * and with -D LANDINGS its bytes have landed.
 */
#if defined(LANDINGS) && !defined(NO_LANDING)
#define LANDED(m, s) (INLINE(s) || lane[m].announced > 0)
#else
#define LANDED(m, s) true
#endif
#ifdef POLLED
#define ARRIVED(m) (lane[m].slotSequence[NEXT(lane[m].taken) % K] == NEXT(lane[m].taken) && EPOCH_AGREES(m, NEXT(lane[m].taken)) && LANDED(m, NEXT(lane[m].taken)))
#else
#define ARRIVED(m) (lane[m].announced > 0)
#endif

#define OWNER lane[m].producer
proctype Lane(byte m) {
end:
  do
  :: d_step { (lane[m].state == OPEN || lane[m].state == CONDEMNED) && ARRIVED(m) -> take(m) }
  :: d_step { HELD(m) > 0 && !lane[m].releasedFlags[NEXT(lane[m].released) % K] -> release(m, NEXT(lane[m].released)) }
#ifdef ANY_ORDER
  :: d_step { HELD(m) > 1 && !lane[m].releasedFlags[lane[m].taken % K] -> release(m, lane[m].taken) }
#endif
  :: d_step {
      lane[m].state == OPEN && ON(OWNER, m) && empty(toOutbox[OWNER]) &&
      (lane[m].reportedReleased != GIVEN_BACK(m) || lane[m].reportedAcknowledged != ACKNOWLEDGED(OWNER)) -> flush(m)
    }
  /* The producer has gone, or came again. */
  :: d_step {
      lane[m].state == OPEN && ((!ON(OWNER, m) && !(outbox[OWNER].phase == ASKED && ANSWER(OWNER, m))) ||
        nempty(offers[OWNER])) -> lane[m].state = CONDEMNED
    }
  :: d_step { lane[m].state == CONDEMNED -> fence(m) }
#if QUARANTINES
  :: d_step { lane[m].state == CONDEMNED && quarantines > 0 -> quarantines--; lane[m].state = QUARANTINED }
#endif
  od
}

/* Inbox.openLane() */
inline open(p, m) {
  offers[p] ? given, s;
  if
  :: session[p].known ->
    MUST(history, LESS(s, outbox[p].acknowledged) == 0 ||
      LESS(outbox[p].acknowledged, s) <= LESS(session[p].acknowledged, s));
#ifdef NO_WATERMARK
    session[p].delivered = s;
#endif
  :: else ->
    session[p].known = 1;
    session[p].delivered = s;
    session[p].acknowledged = s
  fi;
  lane[m].state = OPEN;
  lane[m].producer = p;
  lane[m].ticket = given;
  lane[m].serial++;
  assert(lane[m].serial < E);
#ifdef EPOCH_PER_SESSION
  session[p].epoch++;
  lane[m].epoch = session[p].epoch;
#else
  lane[m].epoch = lane[m].serial;
#endif
  lane[m].began = session[p].delivered;
  lane[m].taken = session[p].delivered;
  lane[m].released = session[p].delivered;
  lane[m].reportedReleased = session[p].delivered;
  lane[m].reportedAcknowledged = session[p].acknowledged
}

/* ProducerProgress.acknowledge() */
inline acknowledge(p, q) {
#ifdef SHARED
  look(q);
#endif
#ifdef PULL
  if
  :: session[p].pulled == q + 1 -> session[p].pulled = 0
  :: else
  fi;
#endif
  session[p].window[q] = 1;
  do
  :: session[p].acknowledged != session[p].delivered && session[p].window[NEXT(session[p].acknowledged)] ->
    session[p].acknowledged = NEXT(session[p].acknowledged);
    session[p].window[session[p].acknowledged] = 0
  :: else -> break
  od;
  if
  :: LESS(session[p].acknowledged, outbox[p].acknowledged) > LESS(custodian[p], outbox[p].acknowledged) ->
    custodian[p] = session[p].acknowledged
  :: else
  fi
}

#define HAS_LANE(p, m) ((lane[m].state == OPEN || lane[m].state == CONDEMNED) && lane[m].producer == p)
#define UNACKNOWLEDGED(p) LESS(session[p].delivered, session[p].acknowledged)

/* A message that is being pulled is not acknowledged before the pull has ended. */
#ifdef PULL
#include "pull.pml"
#else
#define PULLING(p, q) false
#endif
#define MAY_ACKNOWLEDGE(p, q) (!session[p].window[q] && !PULLING(p, q))

proctype Session(byte p) {
end:
  do
  :: d_step {
      UNACKNOWLEDGED(p) > 0 && MAY_ACKNOWLEDGE(p, NEXT(session[p].acknowledged)) ->
      acknowledge(p, NEXT(session[p].acknowledged))
    }
#ifdef ANY_ORDER
  :: d_step {
      UNACKNOWLEDGED(p) > 1 && MAY_ACKNOWLEDGE(p, session[p].delivered) -> acknowledge(p, session[p].delivered)
    }
#endif
#ifdef PULL
  :: d_step { CAN_PULL(p, NEXT(session[p].acknowledged)) -> begin_pull(p, NEXT(session[p].acknowledged)) }
  :: d_step { CAN_PULL(p, session[p].delivered) -> begin_pull(p, session[p].delivered) }
  :: d_step { session[p].pulling && PULL_PATH(p) -> read_segment(p) }
  :: d_step { session[p].pulling && outbox[p].phase == DEAD -> end_pull(p) }
#endif
  :: d_step {
      nempty(offers[p]) && lane[0].state == FREE && !HAS_LANE(p, 0) && !HAS_LANE(p, MEMORIES - 1) -> open(p, 0)
    }
#if MEMORIES > 1
  :: d_step {
      nempty(offers[p]) && lane[0].state != FREE && lane[1].state == FREE && !HAS_LANE(p, 0) && !HAS_LANE(p, 1) -> open(p, 1)
    }
#endif
  od
}
