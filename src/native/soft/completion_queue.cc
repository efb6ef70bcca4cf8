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
    if (count < 0 && errno == EINTR) continue;
    if (count > 0) taken += static_cast<int>(count);
    // Less than was asked for: the pipe was empty then. What came since makes it readable again.
    if (count < static_cast<ssize_t>(sizeof sink)) break;
  }
  for (CompletionQueue* queue : context_.queues) queue->CountWake(*this);
  return taken;
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
  std::erase(context_.channels, this);
  if (readEnd_ >= 0) close(readEnd_);
  if (writeEnd_ >= 0) close(writeEnd_);
  return 0;
}

CompletionChannel::~CompletionChannel() { Close(); }

CompletionChannel* CompletionChannel::Of(const Context& context, const onepiece::CompletionChannel* channel) {
  for (CompletionChannel* own : context.channels) {
    if (own == channel) return own;
  }
  return nullptr;
}

CompletionQueue* CompletionQueue::Of(const Context& context, const onepiece::CompletionQueue* queue) {
  for (CompletionQueue* own : context.queues) {
    if (own == queue) return own;
  }
  return nullptr;
}

int CompletionQueue::Create(Context& context, uint32_t capacity, CompletionChannel* channel,
                            std::unique_ptr<onepiece::CompletionQueue>* out) {
  if (capacity == 0 || capacity > kMaxCqe) return -EINVAL;
  std::unique_ptr<CompletionQueue> queue(new (std::nothrow) CompletionQueue(context, capacity, channel));
  if (!queue || !context.cqSlots.Take(&queue->index_)) return -ENOMEM;
  queue->closed_ = false;
  context.children++;
  context.queues.push_back(queue.get());
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

constexpr uint64_t kDirectMask = (uint64_t{1} << kDirectWords) - 1;

bool CompletionQueue::PollWord(uint32_t word, uint64_t mask, CompletionRecord* out, int max, int* count) {
  CqSlot& slot = this->slot();
  uint64_t bits = slot.ready[word].load() & mask;
  if (bits != 0) bits = slot.ready[word].fetch_and(~mask) & mask;
  while (bits != 0) {
    uint32_t index = word * 64 + static_cast<uint32_t>(std::countr_zero(bits));
    if (*count == max) {
      slot.ready[word].fetch_or(bits);
      cursor_ = index;
      return false;
    }
    bits &= bits - 1;
    QueuePair* qp = context_.qp(index);
    if (qp == nullptr) continue;
    bool more = false;
    *count += qp->Drain(*this, out + *count, max - *count, &more);
    if (!more) continue;
    slot.ready[word].fetch_or(bits | 1ULL << (index % 64));
    cursor_ = (index + 1) % kMaxQps;
    return false;
  }
  return true;
}

// Loads are sequentially consistent: a poll that follows arming must see what was completed before the arm word was.
// Goes round from the queue pair after the one that filled the last poll, so that a busy one cannot starve the others.
int CompletionQueue::Poll(CompletionRecord* out, int max) {
  CqSlot& slot = this->slot();
  int count = 0;
  uint32_t start = cursor_ / 64;
  uint64_t fromCursor = ~uint64_t{0} << (cursor_ % 64);
  uint64_t pending[kSummaryWords];
  for (uint32_t s = 0; s < kSummaryWords; s++) {
    pending[s] = slot.summary[s].load() == 0 ? 0 : slot.summary[s].exchange(0);
  }
  pending[0] |= kDirectMask;
  auto isPending = [&](uint32_t word) { return (pending[word / 64] >> (word % 64) & 1) != 0; };
  auto done = [&](uint32_t word) { pending[word / 64] &= ~(1ULL << (word % 64)); };
  bool room = !isPending(start) || PollWord(start, fromCursor, out, max, &count);
  // The words behind the start, then those before it, a whole summary word at a time.
  for (uint32_t i = 0; room && i <= kSummaryWords; i++) {
    uint32_t s = (start / 64 + i) % kSummaryWords;
    uint64_t part = ~uint64_t{0};
    if (i == 0) part = start % 64 == 63 ? 0 : ~uint64_t{0} << (start % 64 + 1);
    if (i == kSummaryWords) part = (1ULL << (start % 64)) - 1;
    uint64_t words = pending[s] & part;
    while (room && words != 0) {
      uint32_t word = s * 64 + static_cast<uint32_t>(std::countr_zero(words));
      words &= words - 1;
      room = PollWord(word, ~uint64_t{0}, out, max, &count);
      if (room) done(word);
    }
  }
  if (room && isPending(start)) room = PollWord(start, ~fromCursor, out, max, &count);
  if (room) return count;
  // What was not looked at is still to be polled.
  pending[0] &= ~kDirectMask;
  for (uint32_t s = 0; s < kSummaryWords; s++) {
    if (pending[s] != 0) slot.summary[s].fetch_or(pending[s]);
  }
  return count;
}

int CompletionQueue::RequestNotify(bool solicitedOnly) {
  if (channel_ == nullptr) return -EINVAL;
  armed_ = true;
  if (!solicitedOnly) {
    slot().armed.store(kArmedAny);
    return 0;
  }
  // A request for any event stays one (IBTA 11.4.2.2).
  uint32_t expected = kNotArmed;
  slot().armed.compare_exchange_strong(expected, kArmedSolicited);
  return 0;
}

// Whoever raised the event took the arm word.
void CompletionQueue::CountWake(const CompletionChannel& channel) {
  if (!armed_ || channel_ != &channel || slot().armed.load() != kNotArmed) return;
  armed_ = false;
  counters.wakes++;
}

void CompletionQueue::Announce(uint32_t qpIndex, bool solicited) {
  CqSlot& slot = this->slot();
  SetReady(slot, qpIndex);
  if (TakeArm(slot, solicited) && channel_ != nullptr) channel_->Signal();
}

int CompletionQueue::Resize(uint32_t capacity) {
  if (closed_) return -EBADF;
  if (capacity == 0 || capacity > kMaxCqe) return -EINVAL;
  capacity_ = capacity;
  return 0;
}

int CompletionQueue::Close() {
  if (closed_) return 0;
  if (users > 0) return -EBUSY;
  closed_ = true;
  slot().armed.store(kNotArmed);
  slot().channelFd = 0;
  slot().channelInode = 0;
  if (channel_ != nullptr) channel_->queues--;
  std::erase(context_.queues, this);
  context_.cqSlots.Give(index_);
  context_.children--;
  return 0;
}

CompletionQueue::~CompletionQueue() { Close(); }

}  // namespace onepiece::soft
