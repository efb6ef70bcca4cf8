// The streaming chain of `onepiece bench pipeline --stream` in C with Open MPI. Compiled with mpicc and run by
// `--compare openmpi`.
//
// Usage: mpirun -np 4 stream-open-mpi FILE SIZE PIECES SECONDS WARM_UP_SECONDS
//   FILE    where rank 0 puts doubles: requests, seconds, processor time in us, RSS and PSS in KiB, each sample in us
//   SIZE    bytes of a result
//   PIECES  messages in which each rank sends it; 1: a whole one
//
// Rank 0 is the source: it sends a request, which is a number, to rank 1 and takes the result from rank 3. Rank 1
// copies its data, with the number at each stamp, piece by piece into the memory from which it sends; ranks 2 and 3
// copy each piece as it comes into the memory from which they send. All receives of a result are posted before its
// request is sent, or the first piece of the one before is taken; sends do not wait for their receivers. One request at
// a time.
//
// Invariant: every result is checked at its stamps, the first in every byte; checking is in no sample. A rank ends with
// its parent.
#include <mpi.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>

#define PROGRAM "stream-open-mpi"
#include "pipeline-measure.h"
#include "pipeline-shapes.h"

enum { MAX_PIECES = 1024, RANKS = 4 };

static int pieces;
static unsigned char *in, *out;
static MPI_Request receives[MAX_PIECES], sends[MAX_PIECES];

static size_t begin_of(int piece) { return size / (size_t)pieces * (size_t)piece; }
static int length_of(int piece) {
  return (int)((piece == pieces - 1 ? size : begin_of(piece + 1)) - begin_of(piece));
}

// ---- The chain

static void post_pieces(int from) {
  for (int i = 0; i < pieces; i++) {
    MPI_Irecv(in + begin_of(i), length_of(i), MPI_BYTE, from, i, MPI_COMM_WORLD, &receives[i]);
  }
}

static void send_piece(int to, int i) {
  MPI_Isend(out + begin_of(i), length_of(i), MPI_BYTE, to, i, MPI_COMM_WORLD, &sends[i]);
}

// What a request is: its number and the phase that it belongs to, which go round behind its pieces.
struct head { uint32_t number, phase; };

static struct head take_head(int from) {
  struct head head;
  MPI_Recv(&head, sizeof head, MPI_BYTE, from, MAX_PIECES, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
  return head;
}

static void send_head(int to, struct head head) {
  MPI_Send(&head, sizeof head, MPI_BYTE, to, MAX_PIECES, MPI_COMM_WORLD);
}

static void new_phase(uint32_t *phase, uint32_t next) {
  if (*phase == next) return;
  *phase = next;
  if (next == MEASURED) measure_begins();
  if (next == END) measure_ends();
}

static void make(void) {
  unsigned char *data = in; // what it has of its own
  fill(data);
  for (uint32_t phase = WARM;;) {
    struct head head = take_head(0);
    new_phase(&phase, head.phase);
    if (phase != END) {
      stamp(data, head.number);
      for (int i = 0; i < pieces; i++) {
        memcpy(out + begin_of(i), data + begin_of(i), (size_t)length_of(i));
        send_piece(2, i);
      }
      MPI_Waitall(pieces, sends, MPI_STATUSES_IGNORE);
    }
    send_head(2, head);
    if (phase == END) return;
  }
}

static void relay(int rank) {
  int from = rank - 1;
  int to = (rank + 1) % RANKS;
  post_pieces(from);
  for (uint32_t phase = WARM;;) {
    for (int i = 0; i < pieces; i++) {
      // Behind the last request there is none: what says so comes alone.
      if (i == 0) {
        int came = 0;
        int ended = 0;
        while (!came && !ended) {
          MPI_Test(&receives[0], &came, MPI_STATUS_IGNORE);
          if (!came) MPI_Iprobe(from, MAX_PIECES, MPI_COMM_WORLD, &ended, MPI_STATUS_IGNORE);
        }
        if (!came) {
          struct head head = take_head(from);
          new_phase(&phase, head.phase);
          send_head(to, head);
          for (int j = 0; j < pieces; j++) MPI_Cancel(&receives[j]);
          MPI_Waitall(pieces, receives, MPI_STATUSES_IGNORE);
          return;
        }
      } else MPI_Wait(&receives[i], MPI_STATUS_IGNORE);
      memcpy(out + begin_of(i), in + begin_of(i), (size_t)length_of(i));
      send_piece(to, i);
    }
    // The memory is free for the next result when all of this one is copied.
    post_pieces(from);
    MPI_Waitall(pieces, sends, MPI_STATUSES_IGNORE);
    struct head head = take_head(from);
    new_phase(&phase, head.phase);
    send_head(to, head);
  }
}

// ---- The source

static void source(double warm_up_s, double seconds) {
  unsigned char *expected = out;
  fill(expected);
  double warm_us = now_us() + warm_up_s * 1e6;
  double begin_us = 0;
  struct head head = {0, WARM};
  for (;; head.number++) {
    post_pieces(3);
    double began = now_us();
    send_head(1, head);
    MPI_Waitall(pieces, receives, MPI_STATUSES_IGNORE);
    take_head(3);
    double now = now_us();
    if (!is_request(in, head.number)) fail("a result that is not that of its request");
    if (head.number == 0) {
      stamp(expected, 0);
      if (memcmp(in, expected, size) != 0) fail("a result with other bytes than its request");
    }
    if (head.phase == WARM) {
      if (now < warm_us) continue;
      head.phase = MEASURED;
      measure_begins();
      begin_us = now_us();
      continue;
    }
    requests++;
    samples[sampled++] = now - began;
    if ((now < begin_us + seconds * 1e6 || sampled < MIN_SAMPLES) && sampled < MAX_SAMPLES) continue;
    measured_s = (now - begin_us) / 1e6;
    measure_ends();
    break;
  }
  head.phase = END;
  send_head(1, head);
  take_head(3);
}

int main(int argc, char **argv) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  MPI_Init(&argc, &argv);
  int rank = 0;
  int ranks = 0;
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  MPI_Comm_size(MPI_COMM_WORLD, &ranks);
  if (argc != 6 || ranks != RANKS) fail("usage: with 4 ranks: FILE SIZE PIECES SECONDS WARM_UP_SECONDS");
  size = (size_t)atol(argv[2]);
  pieces = atoi(argv[3]);
  double seconds = atof(argv[4]);
  double warm_up_s = atof(argv[5]);
  shape = &shapes[0];
  if (pieces < 1 || pieces > MAX_PIECES || size < 64 * (size_t)pieces || size > 1 << 26) fail("SIZE or PIECES out of range");
  if (!(seconds > 0 && seconds <= 3600)) fail("a time out of range");
  in = memset(allocate(size), 0, size);
  out = memset(allocate(size), 0, size);
  MPI_Barrier(MPI_COMM_WORLD);
  if (rank == 0) {
    allocate_samples();
    source(warm_up_s, seconds);
  } else if (rank == 1) make();
  else relay(rank);
  MPI_Barrier(MPI_COMM_WORLD);
  keep(argv[1]);
  MPI_Finalize();
  return 0;
}
