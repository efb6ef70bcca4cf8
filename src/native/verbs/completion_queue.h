// A completion queue.
//
// Invariant: a record says only what every driver defines. After a failure that is wrId, status, qpNum and
// vendorError; the byte count is of what arrived (a receive, READ or atomic) and 0 otherwise; an immediate belongs
// to a receive. All else is 0, whatever a driver left there.
#pragma once

#include "library.h"

#ifdef ONEPIECE_HAS_VERBS_HEADER

#include <memory>
#include <utility>

#include "completion_channel.h"
#include "device.h"

namespace onepiece::verbs {

struct Completions {
  Completions(std::shared_ptr<Context> c, std::shared_ptr<EventSource> s, ibv_cq* r)
      : context(std::move(c)), source(std::move(s)), raw(r) {}
  ~Completions();
  Completions(const Completions&) = delete;
  Completions& operator=(const Completions&) = delete;

  const std::shared_ptr<Context> context;
  const std::shared_ptr<EventSource> source;  // null without a channel
  ibv_cq* raw;
  int datagrams = 0;  // queue pairs of type UD whose receives complete here
};

class CompletionQueue final : public onepiece::CompletionQueue {
 public:
  static int Create(const std::shared_ptr<Context>& context, uint32_t capacity, onepiece::CompletionChannel* channel,
                    std::unique_ptr<onepiece::CompletionQueue>* out);
  // The queue of this device at this address, or nullptr: it is another device's.
  static CompletionQueue* Of(const Context& context, const onepiece::CompletionQueue* queue);

  explicit CompletionQueue(std::shared_ptr<Completions> completions);
  ~CompletionQueue() override;

  uint32_t Number() const override { return number_; }
  uint32_t Capacity() const override;
  int Resize(uint32_t capacity) override;
  int Raw(RawNumbers* out) override;
  int Poll(CompletionRecord* out, int max) override;
  int RequestNotify(bool solicitedOnly) override;
  int Close() override;

  const std::shared_ptr<Completions>& Shared() const { return completions_; }

 private:
  void Forget();

  std::shared_ptr<Completions> completions_;  // null after Close; queue pairs share it
  const uint32_t number_;
};

}  // namespace onepiece::verbs

#endif
