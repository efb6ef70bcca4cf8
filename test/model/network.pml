/*
 * The network of one outbox: what is in flight arrives in the order in which it was posted, one cell at a time, as long as
 * the queue pair at the inbox exists. With -D LANDINGS a descriptor may be seen before what was posted
 * before it. What a dead producer has posted may still arrive, or not.
 */

/* A remote write of one cell. The inbox clears the cells that it gives back, so a cell that is not clear belongs to somebody. */
inline write_cell(m, cell, content, p) {
#ifndef UNWATCHED
  MUST(one_writer, lane[m].producer == p && lane[m].data[cell] == 0);
#endif
  lane[m].data[cell] = content
}

/* A store of the one cell of a message that lies in its slot. */
#ifdef SHORT
inline store_in_slot(m, slot, content, p) {
#ifndef UNWATCHED
  MUST(one_writer, lane[m].producer == p && lane[m].slotCell[slot] == 0);
#endif
  lane[m].slotCell[slot] = content
}
#endif

/* The device reads the payload from retained memory as late as now. */
#define RETAINED(p, s) (LESS(outbox[p].last, s) < R -> TAG(p, s) : TAG(p, (s + R) % W))

inline arrive(p) {
  toInbox[p] ? kind, s, at, count;
  happen(p)
}

#ifdef LANDINGS
inline overtake(p) {
  toInbox[p] ?? DESCRIPTOR, s, at, count;
  kind = DESCRIPTOR;
  happen(p)
}
#endif

inline happen(p) {
  n = outbox[p].memory;
  if
#ifdef NO_FENCE
  :: true ->
#else
  :: !ALIVE(n, outbox[p].serial) /* no such queue pair */
  :: else ->
#endif
    if
    :: kind == PAYLOAD ->
      given = RETAINED(p, s);
      write_cell(n, at, given, p)
#ifdef LANDINGS
    :: kind == LANDING ->
#ifdef NO_LANDING
      skip
#else
      if
      :: ALIVE(n, outbox[p].serial) ->
        lane[n].announced = lane[n].announced + count;
        MUST(credit, lane[n].announced + HELD(n) <= K)
      :: else
      fi
#endif
#endif
    :: kind == DESCRIPTOR ->
#ifdef LANDINGS
      if
      :: INLINE(s) -> given = RETAINED(p, s); write_cell(n, at, given, p)
      :: else
      fi;
#endif
      lane[n].slotEpoch[s % K] = outbox[p].epoch;
      lane[n].slotSequence[s % K] = s;
      lane[n].slotOffset[s % K] = at;
#ifndef POLLED
      /* The completion follows the data. */
      if
      :: ALIVE(n, outbox[p].serial) ->
        lane[n].announced = lane[n].announced + count;
#ifndef UNWATCHED
        MUST(credit, lane[n].announced + HELD(n) <= K || STALE)
#else
        skip
#endif
      :: else
      fi
#else
      skip
#endif
    fi
  fi
}

/* The control block is written, and the outbox gets a completion. */
inline report_arrives(p) {
  toOutbox[p] ? outbox[p].toldReleased, outbox[p].toldAcknowledged;
  outbox[p].news = 1
}

proctype Network(byte p) {
end:
  do
  :: d_step { nempty(toInbox[p]) -> arrive(p) }
#ifdef LANDINGS
  :: d_step { toInbox[p] ?? [DESCRIPTOR, _, _, _] -> overtake(p) }
#endif
  :: d_step { nempty(toOutbox[p]) && outbox[p].phase == UP -> report_arrives(p) }
  /* The inbox has destroyed its queue pair, or is dead: its last report may be lost. */
  :: d_step { nempty(toOutbox[p]) && !ALIVE(outbox[p].memory, outbox[p].serial) -> toOutbox[p] ? _, _ }
  od
}
