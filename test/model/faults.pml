/* What may go wrong, at any moment, a bounded number of times; and the watch over a system in which nothing happens any more. */

/* The inbox dies: its queue pairs, keys and memory with it, and everything that it knew. */
inline restart() {
  n = 0;
  do
  :: n < MEMORIES ->
    lane[n].state = FREE;
    lane[n].announced = 0;
    reset_lane(n);
    i = 0;
    do
    :: i < K -> forget_slot(n, i); i++
    :: else -> break
    od;
    n++
  :: else -> break
  od;
  n = 0;
  do
  :: n < PRODUCERS ->
    session[n].known = 0;
    session[n].delivered = 0;
    session[n].acknowledged = 0;
    session[n].epoch = 0;
    session[n].begun = 0;
    session[n].seen = 0;
#ifdef PULL
    session[n].pulling = 0;
    session[n].segments = 0;
    session[n].pulled = 0;
    session[n].pullSerial = 0;
#endif
    i = 0;
    do
    :: i < W -> session[n].window[i] = 0; i++
    :: else -> break
    od;
    do
    :: offers[n] ? _, _
    :: empty(offers[n]) -> break
    od;
    n++
  :: else -> break
  od
}

#define LAST (PRODUCERS - 1)
proctype Faults() {
end:
  do
#if BREAKS
  :: d_step { breaks > 0 && (outbox[0].phase == UP || outbox[0].phase == ASKED) -> breaks--; lose(0) }
#endif
#if SUSPICIONS
  :: d_step { suspicions > 0 && lane[0].state == OPEN -> suspicions--; lane[0].state = CONDEMNED }
#if MEMORIES > 1
  :: d_step { suspicions > 0 && lane[1].state == OPEN -> suspicions--; lane[1].state = CONDEMNED }
#endif
#endif
#if CRASHES
  :: d_step { crashes > 0 && outbox[LAST].phase != DEAD -> crashes--; outbox[LAST].phase = DEAD }
#endif
#if RESTARTS
  :: d_step { restarts > 0 -> restart(); restarts-- }
#endif
  :: break
  od
}

#ifdef WATCH_QUIET
#define SERVED(p) (outbox[p].phase == DEAD || outbox[p].acknowledged == SENDS)
proctype Quiet() {
end:
  timeout;
  MUST(served, SERVED(0) && SERVED(LAST))
}
#endif
