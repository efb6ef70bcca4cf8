// The shapes of `onepiece bench pipeline` in C with Open MPI. Compiled with mpicc and run by `--compare openmpi`.
//
// Usage: mpirun -np RANKS pipeline-open-mpi FILE SHAPE TASK SIZE WINDOW SECONDS WARM_UP_SECONDS REST_MS
//   FILE    where rank 0 puts doubles: requests, seconds, processor time in us, RSS and PSS in KiB, each sample in us
//   SHAPE   chain (4 ranks), diamond (5), shard (7)
//   TASK    load    WINDOW requests under way for SECONDS
//           rest    one request after each REST_MS without any, as many as fit into SECONDS, but ten at least
//           idle    none for SECONDS
//
// Rank 0 is the source: it makes the requests and takes the results. Every other rank is a place: it receives, copies
// its share once into the memory from which it sends, and sends. The ranks wait by polling, as MPI does. The tag says
// which phase a request belongs to, so that all ranks take their processor time of the same phase.
//
// Invariant: every result is checked at its stamps, the first of each buffer in every byte; stamping and checking are
// in no sample. A rank ends with its parent.
#include <mpi.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <time.h>

#define PROGRAM "pipeline-open-mpi"
#include "pipeline-measure.h"
#include "pipeline-shapes.h"

enum { MAX_WINDOW = 64, MIN_RESTS = 10 };
// Large messages that may arrive at a rank at the same time share its bandwidth: with more of them each comes late.
enum { LARGE_BYTES = 64 * 1024, LARGE_DEPTH = 2 };

static const struct place *self;
static int window;  // requests under way
static int depth;   // receives that are posted ahead
static unsigned char *in[MAX_EDGES][MAX_WINDOW];
static unsigned char *out[MAX_WINDOW];
static MPI_Request receives[MAX_WINDOW][MAX_EDGES];
static MPI_Request sends[MAX_WINDOW][MAX_EDGES];

static void sleep_ms(double ms) {
  struct timespec left = {(time_t)(ms / 1e3), (long)((ms - 1e3 * (double)(long)(ms / 1e3)) * 1e6)};
  while (nanosleep(&left, &left) != 0) {
  }
}

// ---- A place

static void post_receives(int slot) {
  for (int j = 0; j < self->inputs; j++) {
    int from = self->takes[j].rank;
    MPI_Irecv(in[j][slot], (int)bytes_of(&shape->places[from]), MPI_BYTE, from, MPI_ANY_TAG, MPI_COMM_WORLD,
              &receives[slot][j]);
  }
}

static void copy_share(int taken, int made) {
  for (int j = 0; j < self->inputs; j++) {
    const struct take *take = &self->takes[j];
    size_t begin = offset_of(take->begin);
    size_t held = offset_of(shape->places[take->rank].begin);
    memcpy(out[made] + begin - offset_of(self->begin), in[j][taken] + begin - held, offset_of(take->end) - begin);
  }
}

static int new_phase(int phase, int tag) {
  if (tag == phase) return phase;
  if (tag == MEASURED) measure_begins();
  if (tag == END) measure_ends();
  return tag;
}

// One request at a time from one rank to one other.
static void relay(void) {
  int from = self->takes[0].rank;
  int bytes = (int)bytes_of(self);
  for (int phase = WARM;;) {
    MPI_Status status;
    MPI_Recv(in[0][0], (int)bytes_of(&shape->places[from]), MPI_BYTE, from, MPI_ANY_TAG, MPI_COMM_WORLD, &status);
    phase = new_phase(phase, status.MPI_TAG);
    if (phase == END) break;
    copy_share(0, 0);
    MPI_Send(out[0], bytes, MPI_BYTE, self->to[0], phase, MPI_COMM_WORLD);
  }
  MPI_Send(NULL, 0, MPI_BYTE, self->to[0], END, MPI_COMM_WORLD);
}

static void cancel_receives(void) {
  for (int slot = 0; slot < depth; slot++) {
    for (int j = 0; j < self->inputs; j++) {
      if (receives[slot][j] != MPI_REQUEST_NULL) MPI_Cancel(&receives[slot][j]);
    }
    MPI_Waitall(self->inputs, receives[slot], MPI_STATUSES_IGNORE);
  }
}

// Several requests at a time, or several inputs or outputs.
static void work(void) {
  for (int slot = 0; slot < depth; slot++) post_receives(slot);
  int phase = WARM;
  for (long n = 0; phase != END; n++) {
    int taken = (int)(n % depth);
    int made = (int)(n % window);
    MPI_Status statuses[MAX_EDGES];
    MPI_Waitall(self->inputs, receives[taken], statuses);
    phase = new_phase(phase, statuses[0].MPI_TAG);
    MPI_Waitall(self->outputs, sends[made], MPI_STATUSES_IGNORE);
    if (phase != END) {
      copy_share(taken, made);
      post_receives(taken);
    }
    int bytes = phase == END ? 0 : (int)bytes_of(self);
    for (int j = 0; j < self->outputs; j++) {
      MPI_Isend(out[made], bytes, MPI_BYTE, self->to[j], phase, MPI_COMM_WORLD, &sends[made][j]);
    }
  }
  for (int slot = 0; slot < window; slot++) MPI_Waitall(self->outputs, sends[slot], MPI_STATUSES_IGNORE);
  cancel_receives();
}

// ---- The source

static long sent, got;
static double began_us[MAX_WINDOW];

static void send_next(int tag) {
  int slot = (int)(sent % window);
  MPI_Wait(&sends[slot][0], MPI_STATUS_IGNORE);
  stamp(out[slot], (uint32_t)sent++);
  began_us[slot] = now_us();
  if (window == 1) MPI_Send(out[slot], (int)size, MPI_BYTE, self->to[0], tag, MPI_COMM_WORLD);
  else MPI_Isend(out[slot], (int)size, MPI_BYTE, self->to[0], tag, MPI_COMM_WORLD, &sends[slot][0]);
}

static void await_result(void) {
  int last = self->takes[0].rank;
  if (window > 1) MPI_Wait(&receives[got % depth][0], MPI_STATUS_IGNORE);
  else MPI_Recv(in[0][0], (int)size, MPI_BYTE, last, MPI_ANY_TAG, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
}

// Answers when the oldest request was answered.
static double take_next(void) {
  int slot = (int)(got % depth);
  await_result();
  double now = now_us();
  const unsigned char *result = in[0][slot];
  if (!is_request(result, (uint32_t)got)) fail("a result that is not that of its request");
  if (got < window && memcmp(result, out[got], size) != 0) fail("a result with other bytes than its request");
  if (window > 1) post_receives(slot);
  got++;
  return now;
}

// Steady: the window stays full from the first request until the last is counted.
static void load(double warm_up_s, double seconds, int measures) {
  if (window > 1) for (int slot = 0; slot < depth; slot++) post_receives(slot);
  double warm_us = now_us() + warm_up_s * 1e6;
  double begin_us = 0;
  for (int tag = WARM;;) {
    while (sent - got < window) send_next(tag);
    double began = began_us[got % window];
    double now = take_next();
    if (tag == WARM) {
      if (now < warm_us) continue;
      if (!measures) break;
      tag = MEASURED;
      measure_begins();
      begin_us = now_us();
      continue;
    }
    requests++;
    if (began >= begin_us) samples[sampled++] = now - began;
    if ((now < begin_us + seconds * 1e6 || sampled < MIN_SAMPLES) && sampled < MAX_SAMPLES) continue;
    measured_s = (now - begin_us) / 1e6;
    measure_ends();
    break;
  }
  while (got < sent) take_next();
}

static void rest(double seconds, double rest_ms) {
  measure_begins();
  double begin_us = now_us();
  double fitting = seconds * 1e3 / rest_ms;
  while (sampled < MIN_RESTS || (double)sampled + 1 <= fitting) {
    sleep_ms(rest_ms);
    send_next(MEASURED);
    double now = take_next();
    samples[sampled++] = now - began_us[0];
    requests++;
  }
  measured_s = (now_us() - begin_us) / 1e6;
  measure_ends();
}

// One request tells the others that it begins.
static void idle(double seconds) {
  send_next(MEASURED);
  take_next();
  measure_begins();
  double begin_us = now_us();
  sleep_ms(seconds * 1e3);
  measured_s = (now_us() - begin_us) / 1e6;
  measure_ends();
}

static void end_all(void) {
  MPI_Send(NULL, 0, MPI_BYTE, self->to[0], END, MPI_COMM_WORLD);
  await_result();
  cancel_receives();
}

int main(int argc, char **argv) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  MPI_Init(&argc, &argv);
  int rank = 0;
  int ranks = 0;
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  MPI_Comm_size(MPI_COMM_WORLD, &ranks);
  if (argc != 9) fail("usage: FILE SHAPE TASK SIZE WINDOW SECONDS WARM_UP_SECONDS REST_MS");
  for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
    if (strcmp(shapes[i].name, argv[2]) == 0) shape = &shapes[i];
  }
  const char *task = argv[3];
  size = (size_t)atol(argv[4]);
  window = atoi(argv[5]);
  double seconds = atof(argv[6]);
  double warm_up_s = atof(argv[7]);
  if (shape == NULL || shape->ranks != ranks) fail("chain needs 4 ranks, diamond 5, shard 7");
  double rest_ms = atof(argv[8]);
  if (size < 64 || size > 1 << 26 || window < 1 || window > MAX_WINDOW) fail("SIZE or WINDOW out of range");
  if (!(seconds > 0 && seconds <= 3600 && rest_ms >= 0 && rest_ms <= 60000)) fail("a time out of range");
  self = &shape->places[rank];
  depth = size <= LARGE_BYTES || window < LARGE_DEPTH ? window : LARGE_DEPTH;
  for (int slot = 0; slot < window; slot++) {
    for (int j = 0; j < self->inputs && slot < depth; j++) {
      in[j][slot] = allocate(bytes_of(&shape->places[self->takes[j].rank]));
    }
    out[slot] = allocate(bytes_of(self));
    for (int j = 0; j < MAX_EDGES; j++) receives[slot][j] = sends[slot][j] = MPI_REQUEST_NULL;
  }
  MPI_Barrier(MPI_COMM_WORLD);
  if (rank == 0) {
    allocate_samples();
    for (int slot = 0; slot < window; slot++) fill(out[slot]);
    load(warm_up_s, seconds, strcmp(task, "load") == 0);
    if (strcmp(task, "rest") == 0 && rest_ms >= 1) rest(seconds, rest_ms);
    else if (strcmp(task, "idle") == 0) idle(seconds);
    else if (strcmp(task, "load") != 0) fail("TASK is load, rest (with REST_MS) or idle");
    end_all();
  } else if (window == 1 && self->inputs == 1 && self->outputs == 1) {
    relay();
  } else {
    work();
  }
  MPI_Barrier(MPI_COMM_WORLD);
  keep(argv[1]);
  MPI_Finalize();
  return 0;
}
