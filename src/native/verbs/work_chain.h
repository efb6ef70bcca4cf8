// Work requests on their way to the driver: translated into a chain that was linked once, posted a chunk at a time.
//
// Invariant: posting allocates nothing; every chunk is one call of the driver, so one doorbell; how many were taken is
// known however the driver ends.
#pragma once

#include "library.h"

#ifdef ONEPIECE_HAS_VERBS_HEADER

#include <algorithm>
#include <bit>
#include <cstring>

#include "../device.h"

namespace onepiece::verbs {

constexpr int kPostChunk = 64;

inline bool ToSge(const SgeRecord* records, uint32_t count, ibv_sge* out) {
  for (uint32_t i = 0; i < count; ++i) {
    uint64_t address;
    if (!ToAddress(records[i].address, &address)) return false;
    out[i].addr = address;
    out[i].length = records[i].length;
    out[i].lkey = records[i].lkey;
  }
  return true;
}

template <typename Work>
class Chain {
 public:
  Chain() {
    memset(work_, 0, sizeof(work_));
    memset(sge_, 0, sizeof(sge_));
    for (int i = 0; i < kPostChunk; ++i) {
      work_[i].sg_list = sge_[i];
      if (i + 1 < kPostChunk) work_[i].next = &work_[i + 1];
    }
  }

  Work& work(int slot) { return work_[slot]; }
  ibv_sge* sge(int slot) { return sge_[slot]; }

  // Translates up to a chunk, posts it in one call, goes on. 0, or the errno of the first that was refused.
  template <typename Record, typename Translate, typename Post>
  int PostAll(const Record* records, int count, int* taken, Translate translate, Post post) {
    while (*taken < count) {
      const int wanted = std::min(count - *taken, kPostChunk);
      int ready = 0;
      while (ready < wanted && translate(records[*taken + ready], ready)) ++ready;
      if (ready > 0) {
        Work* const next = work_[ready - 1].next;
        work_[ready - 1].next = nullptr;
        Work* bad = nullptr;
        errno = 0;
        const int error = Answer(post(work_, &bad));
        work_[ready - 1].next = next;
        if (error != 0) {
          if (bad >= work_ && bad < work_ + ready) *taken += static_cast<int>(bad - work_);
          return error;
        }
        *taken += ready;
      }
      if (ready < wanted) return -EINVAL;
    }
    return 0;
  }

 private:
  Work work_[kPostChunk];
  ibv_sge sge_[kPostChunk][kMaxSge];
};

class ReceiveChain {
 public:
  template <typename PostCall>
  int Post(const ReceiveRecord* records, int count, uint32_t maxSge, int* taken, PostCall post) {
    const auto translate = [&](const ReceiveRecord& record, int slot) {
      if (record.numSge > maxSge || !ToSge(record.sge, record.numSge, chain_.sge(slot))) return false;
      chain_.work(slot).wr_id = std::bit_cast<uint64_t>(record.wrId);
      chain_.work(slot).num_sge = static_cast<int>(record.numSge);
      return true;
    };
    return chain_.PostAll(records, count, taken, translate, post);
  }

 private:
  Chain<ibv_recv_wr> chain_;
};

}  // namespace onepiece::verbs

#endif
