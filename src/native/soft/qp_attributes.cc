// Invariant: see qp_attributes.h.
#include "qp_attributes.h"

#include "../qp_transitions.h"

namespace onepiece::soft {

namespace {

constexpr uint32_t kMaxReadAtomic = 128;
constexpr uint32_t kKnownAccess = kLocalWrite | kRemoteWrite | kRemoteRead | kRemoteAtomic;

}  // namespace

bool IsAllowed(QpType type, QpState from, QpState to, uint32_t mask) {
  for (const QpTransition& known : QpTransitions::kRows) {
    if (known.from != from || known.to != to || (known.types >> static_cast<uint32_t>(type) & 1) == 0) continue;
    return (mask & known.required) == known.required && (mask & ~(known.required | known.optional)) == 0;
  }
  return false;
}

bool IsWellFormed(const QpAttributes& wanted) {
  auto atMost = [&](uint32_t mask, uint32_t value, uint32_t max) { return (wanted.mask & mask) == 0 || value <= max; };
  if ((wanted.mask & kMaskPort) != 0 && wanted.port != 1) return false;
  if ((wanted.mask & kMaskPathMtu) != 0 && (wanted.pathMtu < 1 || wanted.pathMtu > 5)) return false;
  if ((wanted.mask & kMaskAccessFlags) != 0 && (wanted.accessFlags & ~kKnownAccess) != 0) return false;
  return atMost(kMaskPkeyIndex, wanted.pkeyIndex, 0) && atMost(kMaskTimeout, wanted.timeout, 31) &&
         atMost(kMaskRetryCount, wanted.retryCount, 7) && atMost(kMaskRnrRetry, wanted.rnrRetry, 7) &&
         atMost(kMaskMinRnrTimer, wanted.minRnrTimer, 31) &&
         atMost(kMaskMaxReadAtomic, wanted.maxReadAtomic, kMaxReadAtomic) &&
         atMost(kMaskMaxDestReadAtomic, wanted.maxDestReadAtomic, kMaxReadAtomic);
}

}  // namespace onepiece::soft
