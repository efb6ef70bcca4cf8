// Copying between mapped memory.
//
// Invariant: whatever is copied here is visible to all before any later store of this thread; streaming stores, which
// the processor may keep back, are fenced before Copy() returns.
#pragma once

#include <cstddef>
#include <cstdint>

namespace onepiece::soft {

// Messages from this size on are copied by streaming stores: source and target together do not fit the last-level
// cache, so keeping them there only drives out everything else. Measured: docs/soft-device.md.
uint64_t StreamingBytes();

// As memcpy(3); a peer's pages have a mapping of their own, also those of this process, so the two never overlap.
// `streaming`: the target does not go into the cache.
void Copy(uint8_t* to, const uint8_t* from, size_t bytes, bool streaming);

}  // namespace onepiece::soft
