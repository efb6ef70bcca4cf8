/*
 * How large the modelled system is. Sequences are stored modulo W, and positions in the ring are lowered by M when all that
 * are in use allow it, so the number of messages is not bounded: a run may go on for ever, and the states come round.
 */
#ifndef PRODUCERS
#define PRODUCERS 1
#endif
#ifndef MEMORIES
#define MEMORIES 1 /* lanes at a time, with those that have ended and still hold messages */
#endif
#ifndef K
#define K 2 /* slots of a lane */
#endif
#ifndef M
#define M 4 /* cells of its data ring */
#endif
#ifndef R
#define R 2 /* messages that an outbox retains */
#endif
#ifndef W
#define W 6 /* a multiple of K, at least 2 * R + 2 */
#endif
#ifndef E
#define E 16 /* lanes that one memory may have had */
#endif

/* With -D SENDS each application sends so many messages, less than W; else they never stop. */
#ifdef SENDS
#define MORE_TO_SEND(p) (outbox[p].last < SENDS)
#if MEMORIES >= PRODUCERS
#define WATCH_QUIET
#endif
#else
#define MORE_TO_SEND(p) true
#endif

/* What may go wrong, and how often. */
#ifndef BREAKS
#define BREAKS 0 /* an outbox loses its connection, or gives up a handshake */
#endif
#ifndef SUSPICIONS
#define SUSPICIONS 0 /* the inbox fences a lane whose producer seems to be stopped */
#endif
#ifndef CRASHES
#define CRASHES 0 /* the last producer dies */
#endif
#ifndef RESTARTS
#define RESTARTS 0 /* the inbox dies, and another begins */
#endif
#ifndef QUARANTINES
#define QUARANTINES 0 /* a fence cannot be proved: the memory is given to nobody */
#endif
#define FAULTS (BREAKS + SUSPICIONS + CRASHES + RESTARTS)
#ifndef STALE
#define STALE 0 /* completions of a queue pair outlive it, and its number is given again */
#endif

/* Cells of a message. Resending must give the same, so it depends on the sequence alone. */
#ifndef CELLS_ODD
#ifdef PULL
#define CELLS_ODD 0 /* these are pulled */
#else
#define CELLS_ODD 1
#endif
#endif
#ifndef CELLS_EVEN
#define CELLS_EVEN 2
#endif
#define LENGTH(s) ((s) % 2 -> CELLS_ODD : CELLS_EVEN)
/* With -D LANDINGS a lane is polled and not mapped: messages of one cell travel with their descriptor, of the others a landing
 * must come before they are read, and WRITEs are seen in any order until then. */
#ifdef LANDINGS
#define POLLED
#define INLINE(s) (LENGTH(s) == 1)
#else
#define INLINE(s) false
#endif
/* With -D SHORT a lane is polled and mapped, and messages of one cell lie in their slot, in no cell of the data ring. */
#ifdef SHORT
#define IN_PLACE
#define POLLED
#define IN_SLOT(s) (LENGTH(s) == 1)
#else
#define IN_SLOT(s) false
#endif
/* Cells of the data ring that a message takes. */
#define ROOM(s) (IN_SLOT(s) -> 0 : LENGTH(s))
#define SEGMENTS 2 /* READs of a pulled message */

#define NEXT(s) (((s) + 1) % W)
#define LESS(a, b) (((a) + W - (b)) % W) /* a - b, of sequences */
/* placeMessage() of layout.ts */
#define PLACE(tail, s) ((tail) % M + ROOM(s) > M -> (tail) + M - (tail) % M : (tail))
/* What the cells of a message contain. */
#define TAG(p, s) (1 + (s) + W * (p))
/* Blocks of the memory to which messages refer, with -D SHARED. */
#ifndef BLOCKS
#define BLOCKS 1
#endif
