/* What everybody knows and has. The comments name the fields of src/ts/ring that these stand for. */

/* Properties: an assertion that fails begins with the name of what was broken. They are never set. */
hidden byte whole; /* delivered bytes equal sent bytes, when delivered and until released */
hidden byte in_order; /* 1, 2, 3 ... for each producer and incarnation of the inbox, each once, none left out */
hidden byte custody; /* acknowledged implies delivered, and acknowledged by the application */
hidden byte credit; /* slots, bytes and retained messages are never exceeded; an honest producer is never condemned */
hidden byte one_writer; /* no byte has two possible writers: written are only cells that are free, by their owner */
hidden byte history; /* both sides of a handshake remember the same */
hidden byte served; /* nothing of a live producer stays unacknowledged when all is quiet */
#define MUST(property, condition) assert(property || (condition))

/* connection of an outbox */
#define LOST 0
#define ASKED 1
#define UP 2
#define DEAD 3

typedef OutboxState {
  byte phase;
  byte ticket; /* tells the answer to this handshake from that to one that was given up */
  byte last, acknowledged; /* RetainedMessages */
  byte sent, released, tail; /* Connection */
  byte starts[K];
  byte memory, serial, epoch; /* the lane that was answered: its memory, queue pair and epoch */
  bit news; /* a control block has arrived */
  byte toldReleased, toldAcknowledged; /* what is in it */
#ifdef IN_PLACE
  byte built; /* cells written of the message that is being built, plus 1; 0 when there is none */
#endif
}
OutboxState outbox[PRODUCERS];

/* lane */
#define FREE 0
#define OPEN 1
#define CONDEMNED 2 /* being fenced */
#define ENDED 3 /* fenced, with messages that are still held */
#define QUARANTINED 4

typedef LaneState {
  byte state;
  byte producer, ticket;
  byte serial, epoch; /* identity of the queue pair; epoch of descriptors */
  byte began, taken, released, tail;
  byte starts[K];
  bit releasedFlags[K];
  byte announced; /* messages that completions have named and that are not taken; with -D LANDINGS those that have landed */
  byte reportedReleased, reportedAcknowledged;
  /* the memory itself */
  byte slotEpoch[K], slotSequence[K], slotOffset[K];
  byte data[M];
#ifdef SHORT
  byte slotCell[K]; /* messages that lie in their slots */
#endif
}
LaneState lane[MEMORIES];

typedef SessionState {
  bit known;
  byte delivered, acknowledged;
  bit window[W]; /* acknowledged out of order */
  byte epoch; /* only for -D EPOCH_PER_SESSION */
  bit begun; /* ghost: this incarnation of the inbox has delivered something */
  byte seen; /* ghost: and this was the last */
#ifdef PULL
  byte pulling; /* sequence that is being pulled, plus 1 */
  byte segments; /* of it that were read */
  byte pulled; /* sequence that was pulled last and is not acknowledged, plus 1 */
  byte pullSerial; /* only for -D PULL_ON_ITS_LANE */
#endif
}
SessionState session[PRODUCERS];
byte custodian[PRODUCERS]; /* ghost: the application of some incarnation has acknowledged everything up to here */

/* Writes in flight, in the order in which they were posted. */
#define PAYLOAD 1
#define DESCRIPTOR 2
#define LANDING 3
chan toInbox[PRODUCERS] = [4 * K] of { byte, byte, byte, byte }; /* kind, sequence, cell or offset, messages named */
chan toOutbox[PRODUCERS] = [1] of { byte, byte }; /* control block: released, acknowledged */
chan offers[PRODUCERS] = [2] of { byte, byte }; /* ticket, acknowledged */

byte breaks = BREAKS, suspicions = SUSPICIONS, crashes = CRASHES, restarts = RESTARTS, quarantines = QUARANTINES, stale = STALE;

/* Scratch of the one action that runs now. */
hidden byte n, i, s, start, finish, oldest, count, kind, at, given;
hidden byte ok;

#define ALIVE(m, which) ((lane[m].state == OPEN || lane[m].state == CONDEMNED) && lane[m].serial == which)
/* The outbox works on this lane. */
#define ON(p, m) (outbox[p].phase == UP && outbox[p].memory == m && outbox[p].serial == lane[m].serial)
/* An offer of this handshake is under way, and the lane that answers it. */
#define ASKING(p) (offers[p] ?? [eval(outbox[p].ticket), _])
#define ANSWER(p, m) ((lane[m].state == OPEN || lane[m].state == CONDEMNED) && lane[m].producer == p \
  && lane[m].ticket == outbox[p].ticket)
#define HELD(m) LESS(lane[m].taken, lane[m].released)

/* Only differences of positions matter, and their rests modulo M. */
inline lower_positions(ring, nothingHeld) {
  oldest = (nothingHeld -> ring.tail : ring.starts[NEXT(ring.released) % K]);
  if
  :: oldest >= M ->
    ring.tail = ring.tail - M;
    i = 0;
    do
    :: i < K ->
      if
      :: ring.starts[i] >= M -> ring.starts[i] = ring.starts[i] - M
      :: else
      fi;
      i++
    :: else -> break
    od
  :: else
  fi
}
