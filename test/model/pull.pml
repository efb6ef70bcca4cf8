/*
 * Pulled messages: the lane carries a descriptor and no bytes, and the inbox READs the payload out of retained memory, a
 * segment at a time, through the queue pair that its producer has now. Odd sequences are pulled.
 */
#if MEMORIES > 1
#error a pull is modelled with one memory
#endif

#ifdef ACKNOWLEDGE_DURING_PULL
#define PULLING(p, q) false
#else
#define PULLING(p, q) (session[p].pulling == (q) + 1)
#endif

#define CAN_PULL(p, q) (!session[p].pulling && UNACKNOWLEDGED(p) > 0 && (q) % 2 && !session[p].window[q] \
  && session[p].pulled != (q) + 1)

#define CONNECTED(p) (lane[0].state == OPEN && lane[0].producer == p && ON(p, 0))
#ifdef PULL_ON_ITS_LANE
#define PULL_PATH(p) (CONNECTED(p) && lane[0].serial == session[p].pullSerial)
#else
#define PULL_PATH(p) CONNECTED(p)
#endif

inline begin_pull(p, q) {
  session[p].pullSerial = 0;
#ifdef PULL_ON_ITS_LANE
  session[p].pullSerial = lane[0].serial;
#endif
  session[p].pulling = q + 1;
  session[p].pulled = q + 1
}

/* The device of the producer reads what lies there now. */
inline read_segment(p) {
  s = session[p].pulling - 1;
  given = RETAINED(p, s);
  MUST(whole, given == TAG(p, s));
  session[p].segments++;
  if
  :: session[p].segments == SEGMENTS -> end_pull(p)
  :: else
  fi
}

inline end_pull(p) {
  session[p].segments = 0;
  session[p].pulling = 0
}
