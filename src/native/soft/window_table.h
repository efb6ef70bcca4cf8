// The memory windows (type 2) of a device: keys of their own for a part of a region, bound to one queue pair.
//
// Invariant: a window's slot is written only while its key is 0 and nobody can be inside the memory that it showed
// before. Only the peer of the queue pair that it is bound to can use it, so that is proved by looking at this one peer
// (LOCAL_INV completes only then), or because it was this very peer that made it invalid (SEND_WITH_INV). A window of
// which it is not proved is `draining`: it cannot be bound, and its region cannot be deregistered before AllQuiet has
// looked for its key as well.
#pragma once

#include <map>
#include <mutex>
#include <vector>

#include "layout.h"

namespace onepiece::soft {

class Context;

struct BindRequest {
  uint32_t window;  // its number
  uint32_t pd;
  uint32_t presentKey;
  uint32_t newKey;
  uint32_t qpNumber;
  uint32_t lkey;  // of the region
  uint32_t access;
  uint64_t address;
  uint64_t length;
};

// The engine thread binds and invalidates, the JavaScript thread does the rest.
class WindowTable {
 public:
  void Add(uint32_t number, uint32_t key, uint32_t pd);
  bool Bind(Context& context, const BindRequest& request);
  // Takes the key away; false when it is none of a window of `pd`. It drains until Drained().
  bool Invalidate(Context& context, uint32_t key, uint32_t pd);
  void Drained(uint32_t key);
  // The queue pair is gone, and its peer was seen outside or not.
  void Unbind(Context& context, uint32_t qpNumber, bool isOutside);
  // Takes the key of a region away, at once with the look at its windows, so that none is bound in between. False: one
  // is bound to it. `draining` gets the keys of windows that are left without proof.
  bool ClearRegion(Context& context, uint32_t lkey, std::vector<uint32_t>* draining);
  // It goes without proof.
  void Abandon(Context& context, uint32_t lkey);
  // Takes the window's key away for good; its present key, to be looked for.
  uint32_t Retire(Context& context, uint32_t number);
  void Remove(uint32_t number) {
    std::lock_guard<std::mutex> lock(mutex_);
    windows_.erase(number);
  }

 private:
  struct Window {
    uint32_t pd;
    uint32_t key;
    uint32_t lkey;  // of the region that it was bound to last
    uint32_t qpNumber;
    bool draining;
  };
  std::mutex mutex_;
  std::map<uint32_t, Window> windows_;
};

}  // namespace onepiece::soft
