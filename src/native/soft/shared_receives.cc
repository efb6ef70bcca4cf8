// Invariant: see shared_receives.h.
#include "shared_receives.h"

#include <errno.h>

#include <bit>

#include "peer.h"
#include "queue_pair.h"

namespace onepiece::soft {

namespace {

constexpr uint64_t kTakerMask = (1u << 24) - 1;
constexpr uint64_t kOwner = kTakerMask;  // no queue pair and no process has this number
constexpr uint64_t kFull = 1u << 16;
constexpr uint64_t kReturned = 1u << 17;
// A directory that makes no sense must not keep an engine for ever; each try lost to another taker is one it has won.
constexpr int kMaxTries = 1 << 14;

uint64_t TakenWord(uint64_t position, uint64_t taker) { return (position + 1) << 24 | taker; }
uint64_t OrderWord(uint64_t position, uint32_t entry) { return (position + 1) << 16 | entry; }
uint64_t DoneWord(uint64_t position, uint64_t rest) { return (position + 1) << 18 | rest; }

bool IsRange(uint64_t offset, uint64_t bytes) {
  return offset % 64 == 0 && offset >= kRingsOffset && offset <= kDirectoryBytes - bytes;
}

// Moves `word` on from `from`, unless somebody did already.
void MoveOn(std::atomic<uint64_t>& word, uint64_t from) { word.compare_exchange_strong(from, from + 1); }

}  // namespace

bool SharedView::Read(const Directory& directory, uint32_t index, SharedView* out) {
  if (index == 0 || index >= kMaxSrqs) return false;
  SrqSlot& slot = directory.srq(index);
  uint32_t capacity = ReadOnce(slot.capacity);
  uint64_t order = ReadOnce(slot.orderOffset);
  uint64_t entries = ReadOnce(slot.entriesOffset);
  if (slot.number.load() == 0 || !std::has_single_bit(capacity) || capacity > kMaxQpWr) return false;
  if (!IsRange(order, uint64_t{capacity} * 8) || !IsRange(entries, uint64_t{capacity} * sizeof(RqEntry))) return false;
  *out = {&slot, reinterpret_cast<std::atomic<uint64_t>*>(directory.base + order),
          reinterpret_cast<RqEntry*>(directory.base + entries), capacity};
  return true;
}

bool SharedView::Take(uint32_t taker, uint32_t* entry) const {
  for (int i = 0; i < kMaxTries; i++) {
    uint64_t position = slot->head.load();
    if (position == slot->posted.load()) return false;
    uint64_t word = order[position & (capacity - 1)].load();
    auto at = static_cast<uint32_t>(word & 0xffff);
    if (word != OrderWord(position, at) || at >= capacity) continue;  // head has moved on meanwhile
    uint64_t expected = TakenWord(position, 0);
    bool taken = entries[at].taken.compare_exchange_strong(expected, TakenWord(position, taker));
    MoveOn(slot->head, position);
    if (!taken) continue;
    *entry = at;
    return true;
  }
  return false;
}

// The event first and then the limit away: a process that dies in between causes a second event, not a missing one.
bool SharedView::CheckLimit(const Directory& directory, uint32_t index) const {
  uint64_t limit = slot->limit.load();
  auto count = static_cast<uint32_t>(limit);
  if (count == 0 || slot->posted.load() - slot->head.load() >= count) return false;
  MarkSrqEvent(directory, index, kEventSrqLimitReached);
  slot->limit.compare_exchange_strong(limit, limit & ~uint64_t{UINT32_MAX});
  return true;
}

void DoneRing::Clear() {
  for (uint64_t n = 0; n < capacity; n++) words[n].store(DoneWord(n, 0), std::memory_order_relaxed);
  tail->store(0);
}

void DoneRing::Push(uint32_t entry, bool returned) const {
  for (int i = 0; i < kMaxTries; i++) {
    uint64_t n = tail->load();
    std::atomic<uint64_t>& word = words[n & (capacity - 1)];
    uint64_t expected = DoneWord(n, 0);
    bool pushed = word.compare_exchange_strong(expected, DoneWord(n, kFull | (returned ? kReturned : 0) | entry));
    if (pushed || expected >> 18 == n + 1) MoveOn(*tail, n);
    if (pushed) return;
  }
}

bool DoneRing::Pop(uint64_t n, uint32_t* entry, bool* returned) const {
  std::atomic<uint64_t>& word = words[n & (capacity - 1)];
  uint64_t value = word.load();
  if (value >> 18 != n + 1 || (value & kFull) == 0) return false;
  *entry = static_cast<uint32_t>(value & 0xffff);
  *returned = (value & kReturned) != 0;
  MoveOn(*tail, n);
  word.store(DoneWord(n + capacity, 0));
  return true;
}

int SharedReceives::Create(Context& context, uint32_t pd, uint32_t capacity, bool datagrams,
                           std::shared_ptr<SharedReceives>* out) {
  std::shared_ptr<SharedReceives> made(new (std::nothrow) SharedReceives(context, capacity));
  if (!made) return -ENOMEM;
  uint64_t bytes = uint64_t{capacity} * (2 * sizeof(uint64_t) + sizeof(RqEntry) + (datagrams ? kDatagramBytes : 0));
  uint64_t words = (uint64_t{capacity} * sizeof(uint64_t) + 63) / 64 * 64;
  bytes += 128;  // of rounding
  if (!context.ranges.Take(bytes, &made->rangeOffset_)) return -ENOMEM;
  made->rangeBytes_ = bytes;
  if (!context.srqSlots.Take(&made->index_)) return -ENOMEM;
  made->number_ = context.nextSrq++ << 12 | made->index_;
  SrqSlot& slot = made->slot();
  slot.pd = pd;
  slot.capacity = capacity;
  slot.events.store(0);
  slot.orderOffset = made->orderOffset_ = made->rangeOffset_;
  slot.doneOffset = made->doneOffset_ = made->orderOffset_ + words;
  slot.entriesOffset = made->entriesOffset_ = made->doneOffset_ + words;
  made->payloadOffset_ = made->entriesOffset_ + uint64_t{capacity} * sizeof(RqEntry);
  slot.payloadOffset = datagrams ? made->payloadOffset_ : 0;
  slot.posted.store(0);
  slot.limit.store(0);
  slot.head.store(0);
  slot.waiting.store(0);
  made->states_.resize(capacity);
  for (uint32_t e = capacity; e-- > 0;) {
    made->entry(e).taken.store(0);
    made->free_.push_back(e);
  }
  auto* order = reinterpret_cast<std::atomic<uint64_t>*>(context.directory().base + made->orderOffset_);
  for (uint32_t i = 0; i < capacity; i++) order[i].store(0);
  made->done().Clear();
  slot.number.store(made->number_);
  *out = std::move(made);
  return 0;
}

SharedReceives::~SharedReceives() {
  if (index_ != 0) {
    slot().number.store(0);
    context_.srqSlots.Give(index_);
  }
  if (rangeBytes_ != 0) context_.ranges.Give(rangeOffset_, rangeBytes_);
}

DoneRing SharedReceives::done() const {
  return {reinterpret_cast<std::atomic<uint64_t>*>(context_.directory().base + doneOffset_), capacity_,
          &slot().doneTail};
}

void SharedReceives::Post(const ReceiveRecord& record) {
  uint32_t at = free_.back();
  free_.pop_back();
  RqEntry& entry = this->entry(at);
  entry.wrId = record.wrId;
  entry.numSge = record.numSge;
  for (uint32_t i = 0; i < record.numSge; i++) entry.sge[i] = record.sge[i];
  Enqueue(at);
}

void SharedReceives::Enqueue(uint32_t at) {
  SrqSlot& slot = this->slot();
  auto* order = reinterpret_cast<std::atomic<uint64_t>*>(context_.directory().base + orderOffset_);
  // A head that a dead taker left behind is moved on before its place is used again. At most `capacity` are out, and
  // this one is not, so a place is free.
  for (uint32_t i = 0; i <= capacity_; i++) {
    uint64_t head = slot.head.load();
    if (posted_ - head < capacity_) break;
    MoveOn(slot.head, head);
  }
  states_[at] = State::kOut;
  entry(at).taken.store(TakenWord(posted_, 0));
  order[posted_ & (capacity_ - 1)].store(OrderWord(posted_, at));
  posted_++;
  slot.posted.store(posted_);
}

bool SharedReceives::Accept(uint32_t at) {
  if (at >= capacity_ || states_[at] == State::kFree) return false;
  states_[at] = State::kFree;
  entry(at).taken.store(0);
  free_.push_back(at);
  return true;
}

bool SharedReceives::IsTakenBy(uint32_t at, uint32_t taker) const {
  return at < capacity_ && states_[at] != State::kFree && (entry(at).taken.load() & kTakerMask) == taker;
}

void SharedReceives::PostAnew(uint32_t at) {
  if (!Accept(at)) return;
  free_.pop_back();
  Enqueue(at);
}

bool SharedReceives::FindTakenBy(uint32_t taker, uint32_t* at) const {
  for (uint32_t e = 0; e < capacity_; e++) {
    if (states_[e] == State::kFree || (entry(e).taken.load() & kTakerMask) != taker) continue;
    *at = e;
    return true;
  }
  return false;
}

void SharedReceives::Recover(uint32_t taker) {
  // Each is looked at once, whatever peers write there meanwhile; taker 0 is nobody.
  for (uint32_t e = 0; taker != 0 && e < capacity_; e++) {
    if (IsTakenBy(e, taker)) PostAnew(e);
  }
}

void SharedReceives::Withdraw() {
  for (uint32_t e = 0; e < capacity_; e++) {
    if (states_[e] == State::kFree) continue;
    uint64_t word = entry(e).taken.load();
    bool ours = (word & kTakerMask) == 0 && entry(e).taken.compare_exchange_strong(word, word | kOwner);
    if (ours) {
      Accept(e);
    } else {
      states_[e] = State::kThrownAway;
    }
  }
}

void SharedReceives::RecoverDead(uint64_t polled) {
  DoneRing ring = done();
  for (uint32_t e = 0; e < capacity_; e++) {
    auto pid = static_cast<uint32_t>(entry(e).taken.load() & kTakerMask);
    if (states_[e] == State::kFree || pid == 0 || pid == kOwner || !ProcessIsDead(pid)) continue;
    // What it did not say until it died it never will; what it said is still to be polled.
    bool isDone = false;
    for (uint64_t n = polled; n != polled + capacity_ && !isDone; n++) {
      uint64_t word = ring.words[n & (capacity_ - 1)].load();
      isDone = word >> 18 == n + 1 && (word & kFull) != 0 && (word & 0xffff) == e;
    }
    if (!isDone) Accept(e);
  }
}

uint32_t SharedReceives::Held() const {
  uint32_t count = 0;
  for (uint32_t e = 0; e < capacity_; e++) {
    if (states_[e] != State::kFree && (entry(e).taken.load() & kTakerMask) != 0) count++;
  }
  return count;
}

}  // namespace onepiece::soft
