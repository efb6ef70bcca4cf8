// What every part of a queue pair knows about it: its number, its type, its queues and its slot in the directory.
//
// Invariant: nothing here changes between creation and destruction, so every thread reads it. The words of the slot are
// another matter: see layout.h.
#pragma once

#include "completion_queue.h"
#include "protection_domain.h"

namespace onepiece::soft {

struct QpIdentity {
  QpIdentity(ProtectionDomain& pd, QueuePair* queuePair, QpType type, CompletionQueue* sendCq,
             CompletionQueue* receiveCq)
      : pd(pd), context(pd.context()), queuePair(queuePair), type(type), sendCq(sendCq), receiveCq(receiveCq) {}

  ProtectionDomain& pd;
  Context& context;
  QueuePair* const queuePair;  // the name under which the engine thread knows it
  const QpType type;
  CompletionQueue* const sendCq;
  CompletionQueue* const receiveCq;
  uint32_t number = 0;
  QpSlot* slot = nullptr;  // in the own directory

  // Part of creation: nothing reads the two before.
  void SetNumber(uint32_t value) {
    number = value;
    slot = &context.directory().qp(QpIndex(value));
  }
  uint32_t index() const { return QpIndex(number); }
  QpState state() const { return static_cast<QpState>(slot->state.load(std::memory_order_acquire)); }
  bool IsDatagram() const { return type == QpType::kDatagram; }
  bool IsReliable() const { return type == QpType::kReliable; }
  // The engine thread looks at this queue pair at `dueNs` (0: now).
  void Schedule(uint64_t dueNs) const { context.Schedule(queuePair, dueNs); }
};

// How long the engine thread waits before it looks again whether a peer has left.
constexpr uint64_t kSettleNs = 2'000'000;

// Whether a queue pair in this state carries out what its peer asks for.
inline bool IsReadyState(QpState state) {
  return state == QpState::kReadyToReceive || state == QpState::kReadyToSend || state == QpState::kSendQueueDrained;
}

// Moves a slot from one of `states` to ERROR; false when it is in none of them. The owner may have moved on meanwhile,
// which stays as it is.
template <typename... States>
bool StopIf(QpSlot& slot, States... states) {
  auto stop = [&](QpState from) {
    auto expected = static_cast<uint32_t>(from);
    return slot.state.compare_exchange_strong(expected, static_cast<uint32_t>(QpState::kError));
  };
  return (stop(states) || ...);
}

}  // namespace onepiece::soft
