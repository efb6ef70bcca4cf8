// Invariant: see allocators.h.
#include "allocators.h"

#include <errno.h>
#include <sys/random.h>

#include "layout.h"

namespace onepiece::soft {

bool RangeAllocator::Take(uint64_t bytes, uint64_t* offset) {
  bytes = (bytes + kPageBytes - 1) / kPageBytes * kPageBytes;
  for (auto it = free_.begin(); it != free_.end(); ++it) {
    if (it->second < bytes) continue;
    *offset = it->first;
    uint64_t rest = it->second - bytes;
    free_.erase(it);
    if (rest > 0) free_[*offset + bytes] = rest;
    return true;
  }
  return false;
}

void RangeAllocator::Give(uint64_t offset, uint64_t bytes) {
  bytes = (bytes + kPageBytes - 1) / kPageBytes * kPageBytes;
  auto after = free_.lower_bound(offset);
  if (after != free_.end() && offset + bytes == after->first) {
    bytes += after->second;
    after = free_.erase(after);
  }
  if (after != free_.begin()) {
    auto before = std::prev(after);
    if (before->first + before->second == offset) {
      before->second += bytes;
      return;
    }
  }
  free_[offset] = bytes;
}

bool IndexAllocator::Take(uint32_t* index) {
  if (!free_.empty()) {
    *index = free_.back();
    free_.pop_back();
    return true;
  }
  if (next_ >= limit_) return false;
  *index = next_++;
  return true;
}

int KeyAllocator::Take(uint32_t* key) {
  if (used_.empty()) used_.resize(kMaxMrs);
  used_[0] = true;
  if (count_ >= kMaxMrs - 1) return -ENOMEM;
  uint32_t random = 0;
  if (getrandom(&random, sizeof random, 0) != static_cast<ssize_t>(sizeof random)) return -EIO;
  uint32_t slot = MrIndex(random);
  while (used_[slot]) slot = (slot + 1) % kMaxMrs;
  used_[slot] = true;
  count_++;
  *key = slot << 16 | (random & 0xffff);
  return 0;
}

void KeyAllocator::Give(uint32_t key) {
  used_[MrIndex(key)] = false;
  count_--;
}

}  // namespace onepiece::soft
