// Whether the attributes of a queue pair's transition are those that it takes, with values that may be.
//
// Invariant: nothing here has state; every thread may call.
#pragma once

#include "../device.h"

namespace onepiece::soft {

// Whether a queue pair of `type` may go from one state to the other with the attributes of `mask`. Leaving for RESET or
// ERROR carries nothing and is not asked here.
bool IsAllowed(QpType type, QpState from, QpState to, uint32_t mask);
// Whether all attributes of `wanted.mask` are in their ranges.
bool IsWellFormed(const QpAttributes& wanted);

}  // namespace onepiece::soft
