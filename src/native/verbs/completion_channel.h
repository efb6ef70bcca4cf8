// The fd on which completion events wait.
//
// Invariant: no event is ever left unacknowledged between two calls: Drain takes all that wait and acknowledges each
// at once, so that ibv_destroy_cq, which waits for acknowledgements, never hangs. The fd never blocks. The channel
// outlives every completion queue that uses it.
#pragma once

#include "library.h"

#ifdef ONEPIECE_HAS_VERBS_HEADER

#include <memory>
#include <utility>

#include "device.h"

namespace onepiece::verbs {

struct EventSource {
  EventSource(std::shared_ptr<Context> c, ibv_comp_channel* r) : context(std::move(c)), raw(r) {}
  ~EventSource();
  EventSource(const EventSource&) = delete;
  EventSource& operator=(const EventSource&) = delete;

  const std::shared_ptr<Context> context;
  ibv_comp_channel* raw;
};

class CompletionChannel final : public onepiece::CompletionChannel {
 public:
  static int Create(const std::shared_ptr<Context>& context, std::unique_ptr<onepiece::CompletionChannel>* out);
  // The channel of this device at this address, or nullptr: it is another device's.
  static CompletionChannel* Of(const Context& context, const onepiece::CompletionChannel* channel);

  explicit CompletionChannel(std::shared_ptr<EventSource> source);
  ~CompletionChannel() override;

  int Fd() const override;
  int Drain() override;
  int Raw(RawNumbers* out) override;
  int Close() override;

  const std::shared_ptr<EventSource>& Source() const { return source_; }

 private:
  void Forget();

  std::shared_ptr<EventSource> source_;  // null after Close
};

}  // namespace onepiece::verbs

#endif
