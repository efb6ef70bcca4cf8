// The shapes of `onepiece bench pipeline` for programs in C, and the bytes of their requests.
//
// Invariant: the shapes are those of src/ts/bench/pipeline/shape.ts, by rank: 0 is the source. A result is checked at
// its stamps: first word, last word, one in each 64 KiB.
#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum { MAX_EDGES = 4, STRIDE_BYTES = 64 * 1024, QUARTERS = 4 };

// A range of the request's bytes is given in quarters of it.
struct take { int rank, begin, end; };
struct place { int inputs, outputs, begin, end; struct take takes[MAX_EDGES]; int to[MAX_EDGES]; };
struct shape { const char *name; int ranks; struct place places[7]; };

static const struct shape shapes[] = {
  {"chain", 4, {
    {1, 1, 0, 4, {{3, 0, 4}}, {1}},
    {1, 1, 0, 4, {{0, 0, 4}}, {2}},
    {1, 1, 0, 4, {{1, 0, 4}}, {3}},
    {1, 1, 0, 4, {{2, 0, 4}}, {0}}}},
  {"diamond", 5, {
    {1, 1, 0, 4, {{4, 0, 4}}, {1}},
    {1, 2, 0, 4, {{0, 0, 4}}, {2, 3}},
    {1, 1, 0, 4, {{1, 0, 4}}, {4}},
    {1, 1, 0, 4, {{1, 0, 4}}, {4}},
    {2, 1, 0, 4, {{2, 0, 2}, {3, 2, 4}}, {0}}}},
  {"shard", 7, {
    {1, 1, 0, 4, {{6, 0, 4}}, {1}},
    {1, 4, 0, 4, {{0, 0, 4}}, {2, 3, 4, 5}},
    {1, 1, 0, 1, {{1, 0, 1}}, {6}},
    {1, 1, 1, 2, {{1, 1, 2}}, {6}},
    {1, 1, 2, 3, {{1, 2, 3}}, {6}},
    {1, 1, 3, 4, {{1, 3, 4}}, {6}},
    {4, 1, 0, 4, {{2, 0, 1}, {3, 1, 2}, {4, 2, 3}, {5, 3, 4}}, {0}}}},
};

static const struct shape *shape;  // what is measured
static size_t size;                // bytes of a request

static size_t offset_of(int quarter) { return size * (size_t)quarter / QUARTERS; }
static size_t bytes_of(const struct place *place) { return offset_of(place->end) - offset_of(place->begin); }

static uint32_t word_of(size_t at, uint32_t number) { return number + (uint32_t)at * 2654435761u; }

static void stamp(unsigned char *bytes, uint32_t number) {
  for (size_t at = 0; at < size - 4; at += STRIDE_BYTES) memcpy(bytes + at, &(uint32_t){word_of(at, number)}, 4);
  memcpy(bytes + size - 4, &(uint32_t){word_of(size - 4, number)}, 4);
}

static int is_word(const unsigned char *bytes, size_t at, uint32_t number) {
  uint32_t word;
  memcpy(&word, bytes + at, 4);
  return word == word_of(at, number);
}

// Whether these are the bytes of that request, by their stamps.
static int is_request(const unsigned char *bytes, uint32_t number) {
  int right = is_word(bytes, size - 4, number);
  for (size_t at = 0; at < size - 4; at += STRIDE_BYTES) right &= is_word(bytes, at, number);
  return right;
}

static void fill(unsigned char *bytes) {
  for (size_t at = 0; at < size; at++) bytes[at] = (unsigned char)(at ^ (at >> 8) ^ (at >> 16));
}
