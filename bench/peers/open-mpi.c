// What Open MPI reaches between two processes. Compiled with mpicc and run by `onepiece bench ... --compare openmpi`.
//
// Usage: mpirun -np 2 open-mpi MODE TOUCH POLL FILE SIZE:ITERATIONS:WARMUP...
//   MODE   put, send    half of a round trip in which both sides answer each other
//          get          the whole round trip of one MPI_Get
//          put-rate, send-rate    batches of 64, until they are complete
//   TOUCH  1: who receives reads every byte before it answers
//   POLL   1: one-sided operations need the target to call MPI (all transports but shared memory)
//   FILE   where rank 0 puts the samples, as doubles in microseconds: ITERATIONS for each SIZE. A rate is one sample
//          for each batch.
//
// Invariant: every round is checked by its mark in the last byte, so nothing is timed that has not arrived. In put and send
// every message is written anew by its sender, so that no reader finds its bytes in the cache from the round before; from
// TIMED_BYTES on the time of that is known, and in no sample. A rank ends with its parent.
#include <mpi.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <time.h>

enum { BATCH = 64, TAG = 7, TIMED_BYTES = 1024, LOOKS = 20000 };

static int rank;
static int peer;
static int touch;
static int poll;
static unsigned char *out;   // sent from here
static unsigned char *into;  // received here, or the window
static MPI_Win window;
static volatile uint64_t sink;
static double look_us;       // what a look at the clock costs
static double *writes;       // how long each message took to be written

static double now_us(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (double)now.tv_sec * 1e6 + (double)now.tv_nsec / 1e3;
}

static void fail(const char *words) {
  fprintf(stderr, "open-mpi: %s\n", words);
  MPI_Abort(MPI_COMM_WORLD, 1);
}

static void read_all(const unsigned char *bytes, size_t size) {
  uint64_t sum = 0;
  size_t i = 0;
  for (; i + 8 <= size; i += 8) {
    uint64_t word;
    memcpy(&word, bytes + i, 8);
    sum += word;
  }
  for (; i < size; i++) sum += bytes[i];
  sink = sum;
}

static unsigned char mark_of(long round) { return (unsigned char)(round % 255 + 1); }

// Answers how long the message took to be written.
static double give(int put, size_t size, long round) {
  double begin = size < TIMED_BYTES ? 0 : now_us();
  memset(out, mark_of(round), size);
  double took = size < TIMED_BYTES ? 0 : now_us() - begin + look_us;
  if (put) {
    MPI_Put(out, (int)size, MPI_BYTE, peer, 0, (int)size, MPI_BYTE, window);
    MPI_Win_flush(peer, window);
  } else {
    MPI_Send(out, (int)size, MPI_BYTE, peer, TAG, MPI_COMM_WORLD);
  }
  return took;
}

static void take(int put, size_t size, long round) {
  if (put) {
    volatile unsigned char *last = into + size - 1;
    int flag;
    while (*last != mark_of(round)) {
      if (poll) MPI_Iprobe(MPI_ANY_SOURCE, MPI_ANY_TAG, MPI_COMM_WORLD, &flag, MPI_STATUS_IGNORE);
    }
    MPI_Win_sync(window);
  } else {
    MPI_Recv(into, (int)size, MPI_BYTE, peer, TAG, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
    if (into[size - 1] != mark_of(round)) fail("a message that is not the one that was sent");
  }
  if (touch) read_all(into, size);
}

static void latency(int put, size_t size, long rounds, long warm_up, double *samples) {
  for (long round = -warm_up; round < rounds; round++) {
    long nth = round + warm_up;
    if (rank == 0) {
      double begin = now_us();
      double took = give(put, size, nth);
      take(put, size, nth);
      if (round >= 0) samples[round] = (now_us() - begin - took) / 2;
    } else {
      take(put, size, nth);
      double took = give(put, size, nth);
      if (round >= 0) writes[round] = took;
    }
  }
  if (size < TIMED_BYTES) return;
  if (rank == 1) {
    MPI_Send(writes, (int)rounds, MPI_DOUBLE, peer, TAG, MPI_COMM_WORLD);
  } else {
    MPI_Recv(writes, (int)rounds, MPI_DOUBLE, peer, TAG, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
    for (long round = 0; round < rounds; round++) samples[round] -= writes[round] / 2;
  }
}

static void get(size_t size, long rounds, long warm_up, double *samples) {
  if (rank != 0) return;
  for (long round = -warm_up; round < rounds; round++) {
    double begin = now_us();
    MPI_Get(out, (int)size, MPI_BYTE, peer, 0, (int)size, MPI_BYTE, window);
    MPI_Win_flush(peer, window);
    if (touch) read_all(out, size);
    if (round >= 0) samples[round] = now_us() - begin;
  }
}

static void put_rate(size_t size, long rounds, long warm_up, double *samples) {
  if (rank != 0) return;
  for (long round = -warm_up; round < rounds; round++) {
    double begin = now_us();
    for (int i = 0; i < BATCH; i++) MPI_Put(out, (int)size, MPI_BYTE, peer, 0, (int)size, MPI_BYTE, window);
    MPI_Win_flush(peer, window);
    if (round >= 0) samples[round] = now_us() - begin;
  }
}

// As osu_bw: a window of messages each way of which the receiver says that it has them.
static void send_rate(size_t size, long rounds, long warm_up, double *samples) {
  MPI_Request requests[BATCH];
  unsigned char word = 0;
  for (long round = -warm_up; round < rounds; round++) {
    double begin = now_us();
    for (int i = 0; i < BATCH; i++) {
      if (rank == 0) MPI_Isend(out, (int)size, MPI_BYTE, peer, TAG, MPI_COMM_WORLD, &requests[i]);
      else MPI_Irecv(into, (int)size, MPI_BYTE, peer, TAG, MPI_COMM_WORLD, &requests[i]);
    }
    MPI_Waitall(BATCH, requests, MPI_STATUSES_IGNORE);
    for (int i = 0; touch && rank == 1 && i < BATCH; i++) read_all(into, size);
    if (rank == 0) MPI_Recv(&word, 1, MPI_BYTE, peer, TAG + 1, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
    else MPI_Send(&word, 1, MPI_BYTE, peer, TAG + 1, MPI_COMM_WORLD);
    if (rank == 0 && round >= 0) samples[round] = now_us() - begin;
  }
}

int main(int argc, char **argv) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  MPI_Init(&argc, &argv);
  int ranks = 0;
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  MPI_Comm_size(MPI_COMM_WORLD, &ranks);
  if (argc < 6 || ranks != 2) fail("usage: mpirun -np 2 open-mpi MODE TOUCH POLL FILE SIZE:ITERATIONS:WARMUP...");
  peer = 1 - rank;
  const char *mode = argv[1];
  touch = atoi(argv[2]);
  poll = atoi(argv[3]);
  int is_send = strncmp(mode, "send", 4) == 0;
  long largest = 0;
  long most = 0;
  for (int i = 5; i < argc; i++) {
    long size, rounds, warm_up;
    if (sscanf(argv[i], "%ld:%ld:%ld", &size, &rounds, &warm_up) != 3 || size < 1 || size > 1L << 30 || rounds < 1 ||
        warm_up < 0) {
      fail("SIZE:ITERATIONS:WARMUP");
    }
    if (size > largest) largest = size;
    if (rounds > most) most = rounds;
  }
  double *samples = malloc((size_t)most * sizeof *samples);
  writes = malloc((size_t)most * sizeof *writes);
  double begin = now_us();
  for (int i = 0; i < LOOKS; i++) now_us();
  look_us = (now_us() - begin) / LOOKS;
  out = aligned_alloc(4096, ((size_t)largest + 4095) / 4096 * 4096);
  if (samples == NULL || writes == NULL || out == NULL) fail("no memory");
  if (is_send) {
    into = aligned_alloc(4096, ((size_t)largest + 4095) / 4096 * 4096);
    if (into == NULL) fail("no memory");
  } else {
    MPI_Win_allocate(largest, 1, MPI_INFO_NULL, MPI_COMM_WORLD, &into, &window);
    MPI_Win_lock_all(MPI_MODE_NOCHECK, window);
  }
  FILE *file = rank == 0 ? fopen(argv[4], "wb") : NULL;
  if (rank == 0 && file == NULL) fail("the file for the samples cannot be written");
  for (int i = 5; i < argc; i++) {
    long size = 0, rounds = 0, warm_up = 0;
    sscanf(argv[i], "%ld:%ld:%ld", &size, &rounds, &warm_up);
    memset(out, 0, (size_t)largest);
    memset(into, 0, (size_t)largest);
    if (!is_send) MPI_Win_sync(window);
    MPI_Barrier(MPI_COMM_WORLD);
    if (strcmp(mode, "put") == 0) latency(1, (size_t)size, rounds, warm_up, samples);
    else if (strcmp(mode, "send") == 0) latency(0, (size_t)size, rounds, warm_up, samples);
    else if (strcmp(mode, "get") == 0) get((size_t)size, rounds, warm_up, samples);
    else if (strcmp(mode, "put-rate") == 0) put_rate((size_t)size, rounds, warm_up, samples);
    else if (strcmp(mode, "send-rate") == 0) send_rate((size_t)size, rounds, warm_up, samples);
    else fail("no such mode");
    MPI_Barrier(MPI_COMM_WORLD);
    if (rank == 0 && fwrite(samples, sizeof *samples, (size_t)rounds, file) != (size_t)rounds) fail("short write");
  }
  if (file != NULL && fclose(file) != 0) fail("the file for the samples cannot be written");
  if (!is_send) {
    MPI_Win_unlock_all(window);
    MPI_Win_free(&window);
  }
  MPI_Finalize();
  return 0;
}
