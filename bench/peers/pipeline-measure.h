// What the programs of `onepiece bench pipeline` in C measure and keep, whatever they send. Each defines PROGRAM, its
// name in error messages, before it includes this.
//
// Invariant: all ranks take their processor time of the same phase, and rank 0 alone has samples and writes the file.
#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>

enum { WARM = 1, MEASURED = 2, END = 3 };
enum { MAX_SAMPLES = 1 << 20, MIN_SAMPLES = 5 };

static double cpu_begin_us, cpu_end_us, rss_kib, pss_kib;
static double *samples;  // of rank 0, in us
static long requests, sampled;
static double measured_s;

static double now_us(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (double)now.tv_sec * 1e6 + (double)now.tv_nsec / 1e3;
}

static void fail(const char *words) {
  fprintf(stderr, PROGRAM ": %s\n", words);
  MPI_Abort(MPI_COMM_WORLD, 1);
}

static unsigned char *allocate(size_t bytes) {
  unsigned char *memory = aligned_alloc(4096, (bytes + 4095) / 4096 * 4096);
  if (memory == NULL) fail("no memory");
  return memory;
}

static void allocate_samples(void) {
  samples = malloc(MAX_SAMPLES * sizeof *samples);
  if (samples == NULL) fail("no memory");
}

static double cpu_us(void) {
  struct rusage usage;
  getrusage(RUSAGE_SELF, &usage);
  return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1e6 +
         (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec);
}

static void measure_begins(void) { cpu_begin_us = cpu_us(); }

static void measure_ends(void) {
  cpu_end_us = cpu_us();
  FILE *file = fopen("/proc/self/smaps_rollup", "r");
  if (file == NULL) fail("/proc/self/smaps_rollup cannot be read");
  char line[256];
  while (fgets(line, sizeof line, file) != NULL) {
    sscanf(line, "Rss: %lf", &rss_kib);
    sscanf(line, "Pss: %lf", &pss_kib);
  }
  fclose(file);
}

// Called by all ranks, at the end.
static void keep(const char *path) {
  double totals[3] = {cpu_end_us - cpu_begin_us, rss_kib, pss_kib};
  double sums[3];
  MPI_Reduce(totals, sums, 3, MPI_DOUBLE, MPI_SUM, 0, MPI_COMM_WORLD);
  if (samples == NULL) return;
  double head[5] = {(double)requests, measured_s, sums[0], sums[1], sums[2]};
  FILE *file = fopen(path, "wb");
  if (file == NULL || fwrite(head, sizeof *head, 5, file) != 5 ||
      fwrite(samples, sizeof *samples, (size_t)sampled, file) != (size_t)sampled || fclose(file) != 0) {
    fail("the file for the samples cannot be written");
  }
}
