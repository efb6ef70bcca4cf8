// Completion queue and completion channel of the soft device.
//
// Invariant: a completion queue stores nothing. Completions lie with their queue pair (receives in the shared ring,
// sends in a private one) and the queue holds one ready bit per queue pair, so a peer that dies in the middle of
// completing can neither block nor tear anything for another one, and a poll costs the same however many queue pairs
// are idle. Order is kept within a queue pair, as verbs promises; between queue pairs it is not defined.
#pragma once

#include <algorithm>

#include "context.h"

namespace onepiece::soft {

constexpr uint32_t kMaxCqe = 1u << 22;

class CompletionChannel final : public onepiece::CompletionChannel {
 public:
  static int Create(Context& context, std::unique_ptr<onepiece::CompletionChannel>* out);
  // The channel of this device at this address, or nullptr: it is another device's.
  static CompletionChannel* Of(const Context& context, const onepiece::CompletionChannel* channel);
  ~CompletionChannel() override;
  int Fd() const override { return readEnd_; }
  int Drain() override;
  int Close() override;

  void Signal();
  int writeEnd() const { return writeEnd_; }
  uint64_t inode() const { return inode_; }
  int queues = 0;

 private:
  explicit CompletionChannel(Context& context) : context_(context) {
    context_.children++;
    context_.channels.push_back(this);
  }

  Context& context_;
  int readEnd_ = -1;
  int writeEnd_ = -1;
  uint64_t inode_ = 0;
  bool closed_ = false;
};

class CompletionQueue final : public onepiece::CompletionQueue {
 public:
  static int Create(Context& context, uint32_t capacity, CompletionChannel* channel,
                    std::unique_ptr<onepiece::CompletionQueue>* out);
  // The queue of this device at this address, or nullptr: it is another device's.
  static CompletionQueue* Of(const Context& context, const onepiece::CompletionQueue* queue);
  ~CompletionQueue() override;
  uint32_t Number() const override { return index_; }
  uint32_t Capacity() const override { return capacity_; }
  int Poll(CompletionRecord* out, int max) override;
  int RequestNotify(bool solicitedOnly) override;
  // Any capacity: nothing is stored here, so nothing can overflow either.
  int Resize(uint32_t capacity) override;
  int Close() override;

  uint32_t index() const { return index_; }
  Context& context() const { return context_; }
  // The local engine has something for `qpIndex`; `solicited` also for every error.
  void Announce(uint32_t qpIndex, bool solicited);
  void CountWake(const CompletionChannel& channel);
  int users = 0;

 private:
  CompletionQueue(Context& context, uint32_t capacity, CompletionChannel* channel)
      : context_(context), capacity_(capacity), channel_(channel) {}
  CqSlot& slot() const { return context_.directory().cq(index_); }
  // Polls the queue pairs of `mask` in ready word `word`; false when `out` is full.
  bool PollWord(uint32_t word, uint64_t mask, CompletionRecord* out, int max, int* count);

  Context& context_;
  uint32_t capacity_;
  CompletionChannel* channel_;
  uint32_t index_ = 0;
  uint32_t cursor_ = 0;  // the queue pair that the next poll looks at first
  bool armed_ = false;  // an event was asked for and has not been counted
  bool closed_ = true;
};

// True when the arm word asked for an event and this caller is the one that has to raise it.
inline bool TakeArm(CqSlot& slot, bool solicited) {
  uint32_t armed = slot.armed.load();
  if (armed == kNotArmed || (armed == kArmedSolicited && !solicited)) return false;
  return slot.armed.exchange(kNotArmed) != kNotArmed;
}

// Tells a peer that its queue pair `number` has something to poll in its completion queue `index`. Whoever runs an
// engine that is inside the peer.
inline void AnnounceAt(Peer& peer, uint32_t index, uint32_t number, bool solicited) {
  CqSlot& cq = peer.directory().cq(index & (kMaxCqs - 1));
  SetReady(cq, QpIndex(number));
  if (!TakeArm(cq, solicited)) return;
  uint32_t fd = ReadOnce(cq.channelFd);
  if (fd != 0) peer.Signal(fd, ReadOnce(cq.channelInode));
}

}  // namespace onepiece::soft
