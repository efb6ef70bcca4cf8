// A queue pair.
//
// Invariant: what reaches the driver is well formed: opcode, flags, counts and addresses are checked before, inline
// data lies in registered memory, and work is posted only in a state that takes it (drivers differ: some drop it,
// some keep it for later). Posting allocates nothing. The domain, both completion queues and the
// shared receive queue outlive the queue pair.
#pragma once

#include "library.h"

#ifdef ONEPIECE_HAS_VERBS_HEADER

#include <memory>

#include "completion_queue.h"
#include "protection_domain.h"
#include "shared_receive_queue.h"
#include "work_chain.h"

namespace onepiece::verbs {

class QueuePair final : public onepiece::QueuePair {
 public:
  static int Create(const std::shared_ptr<Domain>& domain, const QpInit& init,
                    std::unique_ptr<onepiece::QueuePair>* out);

  QueuePair(std::shared_ptr<Domain> domain, std::shared_ptr<Completions> sends, std::shared_ptr<Completions> receives,
            std::shared_ptr<SharedReceives> shared, ibv_qp* raw, const ibv_qp_cap& granted);
  ~QueuePair() override { QueuePair::Close(); }

  uint32_t Number() const override { return number_; }
  QpCapabilities Capabilities() const override { return granted_; }
  int Modify(const QpAttributes& attributes) override;
  int Query(QpAttributes* attributes) override;
  int PostSend(const SendRecord* records, int count, int* taken) override;
  int PostReceive(const ReceiveRecord* records, int count, int* taken) override;
  int Raw(RawNumbers* out) override;
  int Close() override;

 private:
  bool Translate(const SendRecord& record, int slot);
  bool TranslateBind(const SendRecord& record, ibv_send_wr& work);

  std::shared_ptr<Domain> domain_;
  std::shared_ptr<Completions> sends_;
  std::shared_ptr<Completions> receives_;
  std::shared_ptr<SharedReceives> shared_;  // null: it has a receive queue of its own
  ibv_qp* raw_;  // null after Close
  const uint32_t number_;
  QpCapabilities granted_;
  QpState state_ = QpState::kReset;  // what Modify set last; the device may have gone to kError since
  uint8_t port_ = 0;                 // what Modify set last

  // Where posts are translated.
  Chain<ibv_send_wr> sendChain_;
  ReceiveChain receiveChain_;
};

}  // namespace onepiece::verbs

#endif
