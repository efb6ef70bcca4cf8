// Invariant: see qp_transitions.h.
#include "qp_transitions.h"

namespace onepiece::soft {

namespace {

constexpr uint32_t kMaxReadAtomic = 128;
constexpr uint32_t kKnownAccess = kLocalWrite | kRemoteWrite | kRemoteRead | kRemoteAtomic;

constexpr uint32_t kRc = 1u << static_cast<uint32_t>(QpType::kReliable);
constexpr uint32_t kUc = 1u << static_cast<uint32_t>(QpType::kUnreliable);
constexpr uint32_t kUd = 1u << static_cast<uint32_t>(QpType::kDatagram);

constexpr uint32_t kToInit = kMaskPkeyIndex | kMaskPort | kMaskAccessFlags;
constexpr uint32_t kUdToInit = kMaskPkeyIndex | kMaskPort | kMaskQkey;
constexpr uint32_t kUcToRtr = kMaskAddressVector | kMaskPathMtu | kMaskDestQpNum | kMaskRqPsn;
constexpr uint32_t kToRtr = kUcToRtr | kMaskMaxDestReadAtomic | kMaskMinRnrTimer;
constexpr uint32_t kToRts = kMaskTimeout | kMaskRetryCount | kMaskRnrRetry | kMaskSqPsn | kMaskMaxReadAtomic;
constexpr uint32_t kWhileReady = kMaskCurrentState | kMaskAccessFlags | kMaskMinRnrTimer;
constexpr uint32_t kUcWhileReady = kMaskCurrentState | kMaskAccessFlags;
constexpr uint32_t kUdWhileReady = kMaskCurrentState | kMaskQkey;
constexpr uint32_t kWhileDrained = kMaskPkeyIndex | kMaskPort | kMaskAccessFlags | kMaskTimeout | kMaskRetryCount |
                                   kMaskRnrRetry | kMaskMinRnrTimer | kMaskMaxReadAtomic | kMaskMaxDestReadAtomic |
                                   kMaskAddressVector;

// What each transition needs, and what it may carry besides.
struct Transition {
  uint32_t types;
  QpState from;
  QpState to;
  uint32_t required;
  uint32_t optional;
};
constexpr Transition kTransitions[] = {
    {kRc | kUc, QpState::kReset, QpState::kInit, kToInit, 0},
    {kUd, QpState::kReset, QpState::kInit, kUdToInit, 0},
    {kRc | kUc, QpState::kInit, QpState::kInit, 0, kToInit},
    {kUd, QpState::kInit, QpState::kInit, 0, kUdToInit},
    {kRc, QpState::kInit, QpState::kReadyToReceive, kToRtr, kMaskAccessFlags | kMaskPkeyIndex},
    {kUc, QpState::kInit, QpState::kReadyToReceive, kUcToRtr, kMaskAccessFlags | kMaskPkeyIndex},
    {kUd, QpState::kInit, QpState::kReadyToReceive, 0, kMaskPkeyIndex | kMaskQkey},
    {kRc, QpState::kReadyToReceive, QpState::kReadyToSend, kToRts, kWhileReady},
    {kUc, QpState::kReadyToReceive, QpState::kReadyToSend, kMaskSqPsn, kUcWhileReady},
    {kUd, QpState::kReadyToReceive, QpState::kReadyToSend, kMaskSqPsn, kUdWhileReady},
    {kRc, QpState::kReadyToSend, QpState::kReadyToSend, 0, kWhileReady},
    {kUc, QpState::kReadyToSend, QpState::kReadyToSend, 0, kUcWhileReady},
    {kUd, QpState::kReadyToSend, QpState::kReadyToSend, 0, kUdWhileReady},
    {kRc | kUc | kUd, QpState::kReadyToSend, QpState::kSendQueueDrained, 0, kMaskNotifyWhenDrained},
    {kRc, QpState::kSendQueueDrained, QpState::kReadyToSend, 0, kWhileReady},
    {kUc, QpState::kSendQueueDrained, QpState::kReadyToSend, 0, kUcWhileReady},
    {kUd, QpState::kSendQueueDrained, QpState::kReadyToSend, 0, kUdWhileReady},
    {kRc, QpState::kSendQueueDrained, QpState::kSendQueueDrained, 0, kWhileDrained},
    {kUc, QpState::kSendQueueDrained, QpState::kSendQueueDrained, 0, kMaskPkeyIndex | kMaskAccessFlags},
    {kUd, QpState::kSendQueueDrained, QpState::kSendQueueDrained, 0, kMaskPkeyIndex | kMaskQkey},
};

}  // namespace

bool IsAllowed(QpType type, QpState from, QpState to, uint32_t mask) {
  for (const Transition& known : kTransitions) {
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
