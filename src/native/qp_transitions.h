// The state transitions of a queue pair that a program asks for. There is no other such table: the soft device obeys
// this one, and it explains what any device refuses.
//
// Invariant: as the kernel's (ib_modify_qp_is_ok), without the alternate path and its migration, which the attributes
// here do not have. A queue pair goes to RESET from every state, and to ERROR from every state but RESET, with no
// attribute: these have no rows. Source: InfiniBand Architecture 1.3, 11.2.5.2, table 91 (QP state transition
// properties).
#pragma once

#include "attributes.h"

namespace onepiece {

// What a transition needs, and what it may carry besides, in bits of QpAttributeMask; kMaskState counts as neither.
struct QpTransition {
  uint32_t types;  // bit n: for QpType n
  QpState from;
  QpState to;
  uint32_t required;
  uint32_t optional;
};

struct QpTransitions {
  static constexpr uint32_t kRc = 1u << static_cast<uint32_t>(QpType::kReliable);
  static constexpr uint32_t kUc = 1u << static_cast<uint32_t>(QpType::kUnreliable);
  static constexpr uint32_t kUd = 1u << static_cast<uint32_t>(QpType::kDatagram);
  static constexpr uint32_t kToInit = kMaskPkeyIndex | kMaskPort | kMaskAccessFlags;
  static constexpr uint32_t kUdToInit = kMaskPkeyIndex | kMaskPort | kMaskQkey;
  static constexpr uint32_t kUcToRtr = kMaskAddressVector | kMaskPathMtu | kMaskDestQpNum | kMaskRqPsn;
  static constexpr uint32_t kToRtr = kUcToRtr | kMaskMaxDestReadAtomic | kMaskMinRnrTimer;
  static constexpr uint32_t kToRts = kMaskTimeout | kMaskRetryCount | kMaskRnrRetry | kMaskSqPsn | kMaskMaxReadAtomic;
  static constexpr uint32_t kWhileReady = kMaskCurrentState | kMaskAccessFlags | kMaskMinRnrTimer;
  static constexpr uint32_t kUcWhileReady = kMaskCurrentState | kMaskAccessFlags;
  static constexpr uint32_t kUdWhileReady = kMaskCurrentState | kMaskQkey;
  static constexpr uint32_t kUcWhileDrained = kMaskPkeyIndex | kMaskAccessFlags | kMaskAddressVector;
  static constexpr uint32_t kWhileDrained = kUcWhileDrained | kMaskPort | kMaskTimeout | kMaskRetryCount |
                                            kMaskRnrRetry | kMaskMinRnrTimer | kMaskMaxReadAtomic |
                                            kMaskMaxDestReadAtomic;

  static constexpr QpTransition kRows[] = {
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
      {kUc, QpState::kSendQueueDrained, QpState::kSendQueueDrained, 0, kUcWhileDrained},
      {kUd, QpState::kSendQueueDrained, QpState::kSendQueueDrained, 0, kMaskPkeyIndex | kMaskQkey},
      {kUc, QpState::kSendQueueError, QpState::kReadyToSend, 0, kUcWhileReady},
      {kUd, QpState::kSendQueueError, QpState::kReadyToSend, 0, kUdWhileReady},
  };
};

}  // namespace onepiece
