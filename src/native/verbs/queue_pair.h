// A queue pair.
//
// Invariant: what reaches the driver is well formed: opcode, flags, counts and addresses are checked before, inline
// data lies in registered memory, and work is posted only in a state that takes it (drivers differ: some drop it,
// some keep it for later). Posting allocates nothing. The domain and both completion queues outlive the queue pair.
#pragma once

#include "library.h"

#ifdef ONEPIECE_HAS_VERBS_HEADER

#include <memory>

#include "completion_queue.h"
#include "protection_domain.h"

namespace onepiece::verbs {

class QueuePair final : public onepiece::QueuePair {
 public:
  static int Create(const std::shared_ptr<Domain>& domain, const QpInit& init,
                    std::unique_ptr<onepiece::QueuePair>* out);

  QueuePair(std::shared_ptr<Domain> domain, std::shared_ptr<Completions> sends, std::shared_ptr<Completions> receives,
            ibv_qp* raw, const ibv_qp_cap& granted);
  ~QueuePair() override { QueuePair::Close(); }

  uint32_t Number() const override { return number_; }
  QpCapabilities Capabilities() const override { return granted_; }
  int Modify(const QpAttributes& attributes) override;
  int Query(QpAttributes* attributes) override;
  int PostSend(const SendRecord* records, int count, int* taken) override;
  int PostReceive(const ReceiveRecord* records, int count, int* taken) override;
  int Close() override;

 private:
  static constexpr int kPostChunk = 64;  // one doorbell

  bool Translate(const SendRecord& record, int slot);
  bool Translate(const ReceiveRecord& record, int slot);

  std::shared_ptr<Domain> domain_;
  std::shared_ptr<Completions> sends_;
  std::shared_ptr<Completions> receives_;
  ibv_qp* raw_;  // null after Close
  const uint32_t number_;
  QpCapabilities granted_;
  QpState state_ = QpState::kReset;  // what Modify set last; the device may have gone to kError since
  uint8_t port_ = 0;                 // what Modify set last

  // Where posts are translated: chained once, in the constructor.
  ibv_send_wr sendWork_[kPostChunk];
  ibv_sge sendSge_[kPostChunk][kMaxSge];
  ibv_recv_wr receiveWork_[kPostChunk];
  ibv_sge receiveSge_[kPostChunk][kMaxSge];
};

}  // namespace onepiece::verbs

#endif
