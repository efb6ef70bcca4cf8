// Completion events. Invariant: see completion_channel.h.
#include "completion_channel.h"

#ifdef ONEPIECE_HAS_VERBS_HEADER

#include <fcntl.h>

#include <algorithm>
#include <new>

#include "completion_queue.h"

namespace onepiece::verbs {

EventSource::~EventSource() {
  if (raw != nullptr) context->library.destroy_comp_channel(raw);
}

int CompletionChannel::Create(const std::shared_ptr<Context>& context,
                              std::unique_ptr<onepiece::CompletionChannel>* out) {
  errno = 0;
  ibv_comp_channel* raw = context->library.create_comp_channel(context->raw);
  if (raw == nullptr) return LastError();
  auto source = std::make_shared<EventSource>(context, raw);
  const int flags = fcntl(raw->fd, F_GETFL);
  if (flags < 0 || fcntl(raw->fd, F_SETFL, flags | O_NONBLOCK) < 0) return LastError();
  out->reset(new (std::nothrow) CompletionChannel(std::move(source)));
  return *out ? 0 : -ENOMEM;
}

CompletionChannel* CompletionChannel::Of(const Context& context, const onepiece::CompletionChannel* channel) {
  for (CompletionChannel* own : context.channels) {
    if (own == channel) return own;
  }
  return nullptr;
}

CompletionChannel::CompletionChannel(std::shared_ptr<EventSource> source) : source_(std::move(source)) {
  source_->context->channels.push_back(this);
}

CompletionChannel::~CompletionChannel() { Forget(); }

void CompletionChannel::Forget() {
  if (!source_) return;
  std::erase(source_->context->channels, this);
  source_.reset();
}

int CompletionChannel::Fd() const { return source_ ? source_->raw->fd : -EBADF; }

int CompletionChannel::Drain() {
  if (!source_) return -EBADF;
  const Library& library = source_->context->library;
  for (int taken = 0;;) {
    ibv_cq* queue = nullptr;
    void* context = nullptr;
    errno = 0;
    if (library.get_cq_event(source_->raw, &queue, &context) == 0) {
      static_cast<CompletionQueue*>(context)->counters.wakes++;
      library.ack_cq_events(queue, 1);
      ++taken;
      continue;
    }
    if (errno == EINTR) continue;
    if (errno == EAGAIN || errno == EWOULDBLOCK || taken > 0) return taken;
    return LastError();
  }
}

int CompletionChannel::Raw(RawNumbers* out) {
  if (!source_) return -EBADF;
  *out = {reinterpret_cast<uintptr_t>(source_->raw), 0, -1, source_->raw->fd};
  return 0;
}

int CompletionChannel::Close() {
  if (!source_) return 0;
  if (source_.use_count() > 1) return -EBUSY;
  const int error = Ask(source_->context->library.destroy_comp_channel, source_->raw);
  if (error != 0) return error;
  source_->raw = nullptr;
  Forget();
  return 0;
}

}  // namespace onepiece::verbs

#endif
