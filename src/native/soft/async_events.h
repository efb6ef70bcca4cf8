// Asynchronous events: what happened to a queue pair or a shared receive queue, told to its owner by whoever noticed.
//
// Invariant: an event is a bit in its object's `events`, then a bit in the tables of the header, then a byte in a pipe,
// and is looked for the other way round. So raising it needs neither a lock nor room, an event that is raised again
// before it was taken is one event, and a process that dies in between leaves at most one event, which is reported with
// the next.
#pragma once

#include "layout.h"

namespace onepiece::soft {

// ibv_event_type.
enum EventType : uint32_t {
  kEventQpFatal = 1,
  kEventQpRequestError = 2,
  kEventQpAccessError = 3,
  kEventSqDrained = 5,
  kEventSrqLimitReached = 15,
  kEventLastWqeReached = 16,
};

inline void MarkEvent(const Directory& directory, uint32_t object, std::atomic<uint32_t>& events, uint32_t type) {
  events.fetch_or(1u << type);
  Header& header = directory.header();
  header.hasEvents[object / 64].fetch_or(1ULL << (object % 64));
  header.eventSummary[object / 4096].fetch_or(1ULL << (object / 64 % 64));
}

inline void MarkQpEvent(const Directory& directory, uint32_t index, uint32_t type) {
  MarkEvent(directory, index, directory.qp(index).events, type);
}

inline void MarkSrqEvent(const Directory& directory, uint32_t index, uint32_t type) {
  MarkEvent(directory, kMaxQps + index, directory.srq(index).events, type);
}

// Takes one event; false when there is none. Only the owner calls.
bool TakeEvent(const Directory& directory, AsyncEvent* out);

}  // namespace onepiece::soft
