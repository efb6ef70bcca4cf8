// An open device of libibverbs.
//
// Invariant: the ibv_context is closed exactly once, and never before the last object made from it: everything made
// from a device shares its Context. So Close() with living children is -EBUSY, and a device that is destroyed before
// its children leaves them whole; the last of them closes the context.
#pragma once

#include "library.h"

#ifdef ONEPIECE_HAS_VERBS_HEADER

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "../device.h"

namespace onepiece::verbs {

class CompletionChannel;
class CompletionQueue;
class ProtectionDomain;
class SharedReceiveQueue;

struct Context {
  Context(const Library& l, ibv_context* r, std::string n);
  ~Context();
  Context(const Context&) = delete;
  Context& operator=(const Context&) = delete;

  const Library& library;
  ibv_context* raw;
  const std::string name;
  const bool isRxe;  // soft-RoCE of the kernel, which has ways of its own
  // What lives here, so that an object of another device is known by its address alone and refused.
  std::vector<CompletionChannel*> channels;
  std::vector<CompletionQueue*> queues;
  std::vector<ProtectionDomain*> domains;
  std::vector<SharedReceiveQueue*> sharedQueues;
  uint32_t nextNumber = 1;  // of completion queues and shared receive queues
};

class Device final : public onepiece::Device {
 public:
  explicit Device(std::shared_ptr<Context> context) : context_(std::move(context)) {}

  int Query(DeviceAttributes* out) override;
  int QueryPort(uint32_t port, PortAttributes* out) override;
  int QueryGid(uint32_t port, uint32_t index, Gid* out, std::string* type, std::string* netdev) override;
  int QueryPkey(uint32_t port, uint32_t index, uint16_t* out) override;
  int ProveGid(uint32_t port, uint32_t index) override;
  int EventFd() const override;
  int NextEvent(AsyncEvent* out) override;
  int Raw(RawNumbers* out) override;
  int AllocateProtectionDomain(std::unique_ptr<onepiece::ProtectionDomain>* out) override;
  int CreateChannel(std::unique_ptr<onepiece::CompletionChannel>* out) override;
  int CreateCq(uint32_t capacity, onepiece::CompletionChannel* channel,
               std::unique_ptr<onepiece::CompletionQueue>* out) override;
  int Close() override;

 private:
  std::shared_ptr<Context> context_;  // null after Close
};

}  // namespace onepiece::verbs

#endif
