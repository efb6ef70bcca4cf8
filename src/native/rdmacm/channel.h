// An event channel and the ids made from it, on librdmacm.
//
// Invariant: an event is acknowledged as soon as its data has been copied, so destroying an id never waits for one, and
// the kernel forgets the events of an id that is destroyed. The descriptor closes after the last id. librdmacm reads
// what only a bound id has: such calls on an id without a device are refused here.
#pragma once

#include "library.h"

#ifdef ONEPIECE_HAS_RDMACM_HEADER

#include "../cm.h"

namespace onepiece::rdmacm {

// The descriptor, shared by the channel and its ids.
struct EventSource {
  EventSource(const Library& l, rdma_event_channel* r) : library(l), raw(r) {}
  ~EventSource() { library.destroy_event_channel(raw); }
  EventSource(const EventSource&) = delete;
  EventSource& operator=(const EventSource&) = delete;
  const Library& library;
  rdma_event_channel* const raw;
};

class Id final : public CmId {
 public:
  // Takes over `raw`; its context becomes this object.
  Id(std::shared_ptr<EventSource> source, rdma_cm_id* raw) : source_(std::move(source)), raw_(raw) {
    raw_->context = this;
  }
  ~Id() override { Close(); }
  static Id* Of(const rdma_cm_id* raw) { return static_cast<Id*>(raw->context); }

  int Bind(const CmAddress& local) override;
  int Listen(int backlog) override;
  int ResolveAddress(const CmAddress& source, const CmAddress& destination, int timeoutMs) override;
  int ResolveRoute(int timeoutMs) override;
  int Connect(const CmParameters& parameters) override;
  int Accept(const CmParameters& parameters) override;
  int Establish() override;
  int Reject(const uint8_t* privateData, size_t bytes) override;
  int Disconnect() override;
  int NotifyEstablished() override;
  int SetOption(CmOption option, uint32_t value) override;
  int AttributesFor(QpState state, QpAttributes* out) override;
  void Describe(CmIdentity* out) const override;
  int Raw(RawNumbers* out) override;
  int Close() override;

 private:
  bool HasDevice() const { return raw_->verbs != nullptr; }
  const Library& library() const { return source_->library; }

  std::shared_ptr<EventSource> source_;  // null once closed, as raw_
  rdma_cm_id* raw_;
};

class Channel final : public CmChannel {
 public:
  explicit Channel(std::shared_ptr<EventSource> source) : source_(std::move(source)) {}
  int CreateId(CmPortSpace space, std::unique_ptr<CmId>* out) override;
  int NextEvent(CmEvent* out) override;
  bool HasIds() const override { return source_.use_count() > 1; }
  int Fd() const override { return source_ ? source_->raw->fd : -EBADF; }
  int Drain() override { return 1; }  // JavaScript takes the events
  int Raw(RawNumbers* out) override;
  int Close() override;

 private:
  std::shared_ptr<EventSource> source_;
};

}  // namespace onepiece::rdmacm

#endif
