// Invariant: see async_events.h.
#include "async_events.h"

#include <bit>

namespace onepiece::soft {

namespace {

// Takes one event of `object`, and says whether there are more.
bool TakeOf(const Directory& directory, uint32_t object, AsyncEvent* out, bool* more) {
  bool isQp = object < kMaxQps;
  std::atomic<uint32_t>& events = isQp ? directory.qp(object).events : directory.srq(object - kMaxQps).events;
  uint32_t number = isQp ? directory.qp(object).number.load() : directory.srq(object - kMaxQps).number.load();
  uint32_t bits = events.load();
  if (number == 0) events.store(0);  // it is gone
  if (number == 0 || bits == 0) return false;
  out->type = static_cast<uint32_t>(std::countr_zero(bits));
  out->element = number;
  uint32_t bit = bits & (~bits + 1);
  *more = (events.fetch_and(~bit) & ~bit) != 0;
  return true;
}

}  // namespace

bool TakeEvent(const Directory& directory, AsyncEvent* out) {
  Header& header = directory.header();
  for (uint32_t s = 0; s < 8; s++) {
    if (header.eventSummary[s].load() == 0) continue;
    uint64_t words = header.eventSummary[s].exchange(0);
    while (words != 0) {
      uint32_t word = s * 64 + static_cast<uint32_t>(std::countr_zero(words));
      if (word >= (kMaxQps + kMaxSrqs) / 64) break;
      uint64_t bits = header.hasEvents[word].exchange(0);
      while (bits != 0) {
        uint32_t object = word * 64 + static_cast<uint32_t>(std::countr_zero(bits));
        bool more = false;
        bool found = TakeOf(directory, object, out, &more);
        if (!found || !more) bits &= bits - 1;
        if (!found) continue;
        // What was not looked at is still to be taken: word before summary.
        if (bits != 0) header.hasEvents[word].fetch_or(bits);
        if (bits == 0) words &= words - 1;
        if (words != 0) header.eventSummary[s].fetch_or(words);
        return true;
      }
      words &= words - 1;
    }
  }
  return false;
}

}  // namespace onepiece::soft
