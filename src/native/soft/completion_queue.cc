// Invariant: see completion_queue.h.
#include "completion_queue.h"

#include <errno.h>
#include <unistd.h>

#include <bit>

#include "queue_pair.h"

namespace onepiece::soft {

int CompletionChannel::Create(Context& context, std::unique_ptr<onepiece::CompletionChannel>* out) {
  std::unique_ptr<CompletionChannel> channel(new (std::nothrow) CompletionChannel(context));
  if (!channel) return -ENOMEM;
  int rc = MakePipe(&channel->readEnd_, &channel->writeEnd_);
  if (rc == 0) rc = InodeOf(channel->writeEnd_, &channel->inode_);
  if (rc != 0) return rc;
  *out = std::move(channel);
  return 0;
}

int CompletionChannel::Drain() {
  char sink[256];
  int taken = 0;
  for (;;) {
    ssize_t count = read(readEnd_, sink, sizeof sink);
    if (count > 0) {
      taken += static_cast<int>(count);
    } else if (count < 0 && errno == EINTR) {
      continue;
    } else {
      return taken;
    }
  }
}

void CompletionChannel::Signal() {
  const char one = 1;
  [[maybe_unused]] ssize_t written = write(writeEnd_, &one, 1);  // full: it is readable already
}

int CompletionChannel::Close() {
  if (closed_) return 0;
  if (queues > 0) return -EBUSY;
  closed_ = true;
  context_.children--;
  if (readEnd_ >= 0) close(readEnd_);
  if (writeEnd_ >= 0) close(writeEnd_);
  return 0;
}

CompletionChannel::~CompletionChannel() { Close(); }

int CompletionQueue::Create(Context& context, uint32_t capacity, CompletionChannel* channel,
                            std::unique_ptr<onepiece::CompletionQueue>* out) {
  if (capacity == 0 || capacity > kMaxCqe) return -EINVAL;
  std::unique_ptr<CompletionQueue> queue(new (std::nothrow) CompletionQueue(context, capacity, channel));
  if (!queue || !context.cqSlots.Take(&queue->index_)) return -ENOMEM;
  queue->closed_ = false;
  context.children++;
  CqSlot& slot = queue->slot();
  slot.armed.store(kNotArmed);
  for (auto& word : slot.summary) word.store(0);
  for (auto& word : slot.ready) word.store(0);
  slot.channelFd = channel == nullptr ? 0 : static_cast<uint32_t>(channel->writeEnd());
  slot.channelInode = channel == nullptr ? 0 : channel->inode();
  if (channel != nullptr) channel->queues++;
  *out = std::move(queue);
  return 0;
}

int CompletionQueue::Poll(CompletionRecord* out, int max) {
  CqSlot& slot = this->slot();
  int count = 0;
  for (uint32_t s = 0; s < kSummaryWords; s++) {
    uint64_t words = slot.summary[s].load(std::memory_order_relaxed);
    if (words == 0) continue;
    words = slot.summary[s].exchange(0);
    while (words != 0) {
      uint32_t w = s * 64 + static_cast<uint32_t>(std::countr_zero(words));
      words &= words - 1;
      uint64_t bits = slot.ready[w].exchange(0);
      while (bits != 0) {
        uint32_t index = w * 64 + static_cast<uint32_t>(std::countr_zero(bits));
        bits &= bits - 1;
        QueuePair* qp = context_.qp(index);
        if (qp == nullptr) continue;
        bool more = false;
        count += qp->Drain(*this, out + count, max - count, &more);
        if (more) SetReady(slot, index);
      }
    }
  }
  return count;
}

int CompletionQueue::RequestNotify(bool solicitedOnly) {
  if (channel_ == nullptr) return -EINVAL;
  slot().armed.store(solicitedOnly ? kArmedSolicited : kArmedAny);
  return 0;
}

void CompletionQueue::Announce(uint32_t qpIndex, bool solicited) {
  CqSlot& slot = this->slot();
  SetReady(slot, qpIndex);
  if (TakeArm(slot, solicited) && channel_ != nullptr) channel_->Signal();
}

int CompletionQueue::Close() {
  if (closed_) return 0;
  if (users > 0) return -EBUSY;
  closed_ = true;
  slot().armed.store(kNotArmed);
  slot().channelFd = 0;
  slot().channelInode = 0;
  if (channel_ != nullptr) channel_->queues--;
  context_.cqSlots.Give(index_);
  context_.children--;
  return 0;
}

CompletionQueue::~CompletionQueue() { Close(); }

}  // namespace onepiece::soft
