// The send queue of a queue pair, and the completions of what was in it: two rings in private memory.
//
// Invariants:
//  - the JavaScript thread appends requests and takes completions; whoever runs the engine takes requests and appends
//    completions. So each ring has one writer and one reader, and its two positions are all that they share;
//  - the engine frees a request's place before it shows the completion, so that a program which polled it finds room to
//    post; hence the ring of completions is twice as long as the queue.
#pragma once

#include <atomic>
#include <vector>

#include "work_request.h"

namespace onepiece::soft {

class DatagramEndpoint;
class ProtectionDomain;

class SendQueue {
 public:
  // Before any use. `maxSendWr` is rounded up to a power of two.
  void Allocate(const QpCapabilities& wanted);
  uint32_t capacity() const { return mask_ + 1; }

  // ---- The JavaScript thread.

  // Copies records, with their inline data out of regions of `pd`, and shows them to the engine: the first `count` or
  // those before the first that is refused. `bytes`: of all their messages. `datagrams`: of a datagram queue pair.
  // 0; -EINVAL: a record is wrong; -ENOMEM: there is no room before completions are taken.
  int Append(const SendRecord* records, int count, const ProtectionDomain& pd, DatagramEndpoint* datagrams, int* taken,
             uint64_t* bytes);
  // Moves completions into `out`; `more` when some are left.
  int Drain(CompletionRecord* out, int max, bool* more) {
    int count = 0;
    uint64_t head = cqeHead_.load(std::memory_order_relaxed);
    uint64_t tail = cqeTail_.load(std::memory_order_acquire);
    for (; head != tail && count < max; head++) out[count++] = completions_[head & cqeMask_];
    cqeHead_.store(head, std::memory_order_release);
    if (head != tail) *more = true;
    return count;
  }
  // Forgets all requests and completions. No engine may run.
  void Clear();

  // ---- Whoever runs the engine.

  uint64_t head() const { return head_.load(std::memory_order_relaxed); }
  bool Has(uint64_t position) const { return position != tail_.load(std::memory_order_acquire); }
  WorkRequest& at(uint64_t position) { return requests_[position & mask_]; }
  // All requests before `head` are over: their places may be used again from here on.
  void Free(uint64_t head) { head_.store(head, std::memory_order_release); }
  // The completion that is shown next, to be filled where it lies: a copy from the stack would wait for its own stores.
  CompletionRecord& next() { return completions_[cqeTail_.load(std::memory_order_relaxed) & cqeMask_]; }
  void ShowNext() { cqeTail_.store(cqeTail_.load(std::memory_order_relaxed) + 1, std::memory_order_release); }

  // ---- Every thread.

  bool IsEmpty() const { return head_.load() == tail_.load(); }

 private:
  // 0, with the bytes of the message, or -EINVAL.
  int Validate(const SendRecord& record, bool isDatagram, uint64_t* length) const;
  // Copies a valid record to position `at`. 0 or -EINVAL.
  int Put(uint64_t at, const SendRecord& record, uint64_t length, const ProtectionDomain& pd);

  uint32_t mask_ = 0;
  uint32_t cqeMask_ = 0;
  uint32_t maxSge_ = 0;
  uint32_t maxInlineData_ = 0;
  std::vector<WorkRequest> requests_;
  std::vector<uint8_t> inlineData_;
  std::vector<CompletionRecord> completions_;
  std::atomic<uint64_t> tail_{0};
  std::atomic<uint64_t> head_{0};
  std::atomic<uint64_t> cqeTail_{0};
  std::atomic<uint64_t> cqeHead_{0};
};

}  // namespace onepiece::soft
