// Proves that keys are random in all 32 bits, and that ranges of the directory come back whole.
#include <errno.h>
#include <gtest/gtest.h>

#include <set>

#include "../../src/native/soft/allocators.h"
#include "../../src/native/soft/layout.h"

namespace onepiece::soft {
namespace {

// A fair bit is one in half of n draws, with a deviation of sqrt(n)/2. The bound is ten deviations: chance passes it
// less than once in 10^22, and a bit that is stuck, counts or follows another does not come near it.
constexpr int kDraws = 1 << 16;
constexpr int kBound = 10 * 128;

TEST(KeyAllocator, GivesKeysThatAreRandomInEveryBitAndInEveryPairOfBits) {
  KeyAllocator keys;
  int ones[32] = {};
  int changes[32] = {};
  int agree[32][32] = {};
  uint32_t last = 0;
  for (int i = 0; i < kDraws; i++) {
    uint32_t key = 0;
    ASSERT_EQ(keys.Take(&key), 0);
    keys.Give(key);
    for (int bit = 0; bit < 32; bit++) {
      ones[bit] += key >> bit & 1;
      changes[bit] += (key ^ last) >> bit & 1;
      for (int other = 0; other < bit; other++) agree[bit][other] += (key >> bit & 1) == (key >> other & 1);
    }
    last = key;
  }
  for (int bit = 0; bit < 32; bit++) {
    EXPECT_NEAR(ones[bit], kDraws / 2, kBound) << "bit " << bit;
    EXPECT_NEAR(changes[bit], kDraws / 2, kBound) << "bit " << bit << " from key to key";
    for (int other = 0; other < bit; other++) {
      EXPECT_NEAR(agree[bit][other], kDraws / 2, kBound) << "bits " << bit << " and " << other;
    }
  }
}

TEST(KeyAllocator, GivesEachSlotOnceAndThenNone) {
  KeyAllocator keys;
  std::set<uint32_t> slots;
  uint32_t key = 0;
  for (uint32_t i = 1; i < kMaxMrs; i++) {
    ASSERT_EQ(keys.Take(&key), 0);
    EXPECT_TRUE(slots.insert(MrIndex(key)).second);
    EXPECT_NE(MrIndex(key), 0u);
  }
  EXPECT_EQ(keys.Take(&key), -ENOMEM);
  keys.Give(key);
  EXPECT_EQ(keys.Take(&key), 0);
}

TEST(RangeAllocator, IsWholeAgainWhenAllHasComeBack) {
  constexpr uint64_t kEnd = 1024 * kPageBytes;
  RangeAllocator ranges(0, kEnd);
  uint32_t random = 7;
  for (int round = 0; round < 20; round++) {
    std::vector<std::pair<uint64_t, uint64_t>> taken;
    std::vector<bool> used(1024);
    for (;;) {
      random = random * 1664525 + 1013904223;
      uint64_t bytes = 1 + (random >> 8) % (40 * kPageBytes);
      uint64_t offset = 0;
      if (!ranges.Take(bytes, &offset)) break;
      for (uint64_t page = offset / kPageBytes; page < (offset + bytes + kPageBytes - 1) / kPageBytes; page++) {
        ASSERT_FALSE(used[page]) << "given out twice";
        used[page] = true;
      }
      taken.emplace_back(offset, bytes);
    }
    while (!taken.empty()) {
      random = random * 1664525 + 1013904223;
      std::swap(taken[(random >> 8) % taken.size()], taken.back());
      ranges.Give(taken.back().first, taken.back().second);
      taken.pop_back();
    }
    uint64_t offset = 1;
    ASSERT_TRUE(ranges.Take(kEnd, &offset));
    ranges.Give(offset, kEnd);
  }
}

}  // namespace
}  // namespace onepiece::soft
