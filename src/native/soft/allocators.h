// What of a directory is free: page ranges, slots of the tables, and keys.
//
// Invariant: nothing is given out twice before it was given back. Only the JavaScript thread calls.
#pragma once

#include <cstdint>
#include <map>
#include <vector>

namespace onepiece::soft {

// First-fit over page ranges of the directory.
class RangeAllocator {
 public:
  RangeAllocator(uint64_t begin, uint64_t end) { free_[begin] = end - begin; }
  bool Take(uint64_t bytes, uint64_t* offset);
  void Give(uint64_t offset, uint64_t bytes);

 private:
  std::map<uint64_t, uint64_t> free_;  // offset -> bytes
};

// A table of slot numbers; 0 is never given out.
class IndexAllocator {
 public:
  explicit IndexAllocator(uint32_t limit) : limit_(limit) {}
  bool Take(uint32_t* index);
  void Give(uint32_t index) { free_.push_back(index); }

 private:
  uint32_t limit_;
  uint32_t next_ = 1;
  std::vector<uint32_t> free_;
};

// Keys of memory, random in every bit: the upper 16 are a slot that is free, chosen at random; 0 is never given out.
// A stranger who guesses hits one of n keys with a chance of n in 2^32 at each try.
class KeyAllocator {
 public:
  // 0; -ENOMEM: no slot is free; -EIO: the kernel gives no random numbers.
  int Take(uint32_t* key);
  void Give(uint32_t key);

 private:
  std::vector<bool> used_;
  uint32_t count_ = 0;
};

}  // namespace onepiece::soft
