// The interface of an RDMA device, as the Node-API layer sees it.
//
// Invariant: everything above this line of the house (addon, TypeScript) is the same for every device; what a
// device cannot do it answers with a negative errno (-ENOTSUP), never with a guess. All numbers (operation codes,
// states, access flags, statuses) are those of the verbs ABI, so that libibverbs needs no translation.
//
// Threads: one thread (the JavaScript one) calls every method of a device and of the objects made from it. A
// device may own further threads; they never call up.
#pragma once

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "attributes.h"
#include "records.h"

namespace onepiece {

// `Close()` answers 0 or a negative errno; after 0 the object must not be used again. The destructor of an object that
// was not closed closes it as well as it can. What a device has not answers -ENOTSUP.
class Object {
 public:
  virtual ~Object() = default;
  virtual int Raw(RawNumbers*) { return -ENOTSUP; }
  virtual int Close() = 0;
};

// A descriptor that is readable when something waits behind it; watched by libuv.
class Watched {
 public:
  virtual ~Watched() = default;
  virtual int Fd() const = 0;
  // How much there is to tell JavaScript; a channel takes it all here, others leave it to be asked for. Or -errno.
  virtual int Drain() = 0;
};

class CompletionChannel : public Object, public Watched {
 public:
  int Drain() override = 0;  // takes every waiting event and acknowledges it
};

// What happened to an object so far, in whole numbers, where JavaScript reads them without a call. Mirrored in
// src/ts/verbs/counters.ts.
struct CqCounters {
  double polls = 0;
  double emptyPolls = 0;
  double completions = 0;  // errors included
  double errors = 0;
  double bytesReceived = 0;
  double wakes = 0;  // events that the channel has taken for this queue
};

struct QpCounters {
  double sendsPosted = 0;
  double receivesPosted = 0;
  double bytesPosted = 0;       // of send work requests
  double sendsCompleted = 0;    // polled with success; unsignaled ones are never seen
  double receivesCompleted = 0;
  double bytesReceived = 0;     // by receives and READs
  double errors = 0;            // completions that failed, of either queue
  double doorbells = 0;         // calls that posted sends
};

class CompletionQueue : public Object {
 public:
  virtual uint32_t Number() const = 0;  // within the device
  virtual uint32_t Capacity() const = 0;
  virtual int Poll(CompletionRecord* out, int max) = 0;  // number written or -errno
  virtual int RequestNotify(bool solicitedOnly) = 0;
  virtual int Resize(uint32_t) { return -ENOTSUP; }
  CqCounters counters;
};

// Where registered memory comes from.
struct MemoryInit {
  size_t bytes = 0;
  uint32_t access = 0;
  size_t pageBytes = 0;      // 0: ordinary pages; else huge pages of that size
  void* address = nullptr;   // somebody else's memory, which outlives the region; nullptr: allocated here
  int dmabufFd = -1;         // a dma-buf instead, from `offset`; it has no address here
  uint64_t offset = 0;
  const class RemoteMapping* mapping = nullptr;  // all that it shows instead; the pages stay as long as the region
};

class MemoryRegion : public Object {
 public:
  virtual void* Address() const = 0;  // nullptr: not memory of this process
  virtual size_t Length() const = 0;
  virtual uint32_t LocalKey() const = 0;
  virtual uint32_t RemoteKey() const = 0;
  // New rights (`access`), or a move into `domain` (nullptr: stays); the keys may change.
  virtual int Reregister(const uint32_t* /*access*/, class ProtectionDomain* /*domain*/) { return -ENOTSUP; }
  // Revokes the keys. After 0 no peer can change the memory any more, unless it is that of a peer and mapped by others
  // as well. -EBUSY: not proved yet (a peer is in the middle of a copy); the keys are dead already, the memory must
  // not be reused, the call may be made again.
  virtual int Deregister() = 0;
  // The file whose pages these are, which stays the region's, and where they begin in it.
  virtual int Pages(int* /*fd*/, uint64_t* /*offset*/) const { return -ENOTSUP; }
  // Frees the memory itself, revoked or not; a peer that is still copying writes to pages that nobody sees.
  int Close() override = 0;
};

class MemoryWindow : public Object {
 public:
  virtual uint32_t Number() const = 0;     // within the protection domain
  virtual uint32_t RemoteKey() const = 0;  // as allocated; a bind gives it another one
};

class AddressHandle : public Object {
 public:
  virtual uint32_t Number() const = 0;  // within the protection domain; never 0
};

// Pages of a peer's region, mapped here for as long as this object lives, whatever becomes of the peer.
class RemoteMapping : public Object {
 public:
  virtual void* Address() const = 0;
  virtual size_t Length() const = 0;
  // As of a region.
  virtual int Pages(int* /*fd*/, uint64_t* /*offset*/) const { return -ENOTSUP; }
};

class SharedReceiveQueue : public Object {
 public:
  virtual uint32_t Number() const = 0;  // within the device
  virtual SrqAttributes Granted() const = 0;
  virtual int PostReceive(const ReceiveRecord* records, int count, int* taken) = 0;
  virtual int Modify(const uint32_t* maxWr, const uint32_t* limit) = 0;
  virtual int Query(SrqAttributes* out) = 0;
};

class QueuePair : public Object {
 public:
  virtual uint32_t Number() const = 0;
  virtual QpCapabilities Capabilities() const = 0;
  virtual int Modify(const QpAttributes& attributes) = 0;
  virtual int Query(QpAttributes* attributes) = 0;
  // Both take the first `count` records, stop at the first that is refused, and say how many were taken.
  virtual int PostSend(const SendRecord* records, int count, int* taken) = 0;
  virtual int PostReceive(const ReceiveRecord* records, int count, int* taken) = 0;
  // Maps `length` bytes of the connected peer's region `rkey` from `address`. -EACCES: the peer does not allow it.
  virtual int MapRemote(uint64_t /*address*/, uint32_t /*rkey*/, uint64_t /*length*/, std::unique_ptr<RemoteMapping>*) {
    return -ENOTSUP;
  }
  QpCounters counters;
};

struct QpInit {
  CompletionQueue* sendCq = nullptr;
  CompletionQueue* receiveCq = nullptr;
  SharedReceiveQueue* srq = nullptr;
  QpCapabilities capabilities;
  QpType type = QpType::kReliable;
  bool signalAll = false;
};

class ProtectionDomain : public Object {
 public:
  virtual int RegisterMemory(const MemoryInit& init, std::unique_ptr<MemoryRegion>* out) = 0;
  virtual int AllocateWindow(std::unique_ptr<MemoryWindow>*) { return -ENOTSUP; }  // type 2
  virtual int CreateAh(const AddressVector&, std::unique_ptr<AddressHandle>*) { return -ENOTSUP; }
  virtual int CreateSrq(const SrqAttributes&, std::unique_ptr<SharedReceiveQueue>*) { return -ENOTSUP; }
  virtual int CreateQp(const QpInit& init, std::unique_ptr<QueuePair>* out) = 0;
};

class Device : public Object {
 public:
  virtual int Query(DeviceAttributes* out) = 0;
  virtual int QueryPort(uint32_t port, PortAttributes* out) = 0;
  // `type` is filled with "IB", "RoCE v1", "RoCE v2" or "soft"; `netdev` with the network interface or "".
  virtual int QueryGid(uint32_t port, uint32_t index, Gid* out, std::string* type, std::string* netdev) = 0;
  virtual int QueryPkey(uint32_t, uint32_t, uint16_t*) { return -ENOTSUP; }
  // 0 when an address handle can be made from this entry to itself, so that it is known to be usable.
  virtual int ProveGid(uint32_t /*port*/, uint32_t /*index*/) { return 0; }
  // Asynchronous events: a descriptor that is readable when one waits, and the next one (1), none (0) or -errno.
  virtual int EventFd() const { return -ENOTSUP; }
  virtual int NextEvent(AsyncEvent*) { return -ENOTSUP; }
  virtual int AllocateProtectionDomain(std::unique_ptr<ProtectionDomain>* out) = 0;
  virtual int CreateChannel(std::unique_ptr<CompletionChannel>* out) = 0;
  virtual int CreateCq(uint32_t capacity, CompletionChannel* channel, std::unique_ptr<CompletionQueue>* out) = 0;
};

// A kind of device: what `listDevices` and `openDevice` go through.
class DeviceProvider {
 public:
  virtual ~DeviceProvider() = default;
  virtual const char* Kind() const = 0;
  // Why no device of this kind can be listed, in words with the remedy; empty when it could be asked.
  virtual int List(std::vector<DeviceListing>* out, std::string* why) = 0;
  virtual int Open(const std::string& name, std::unique_ptr<Device>* out, std::string* why) = 0;
};

DeviceProvider& SoftProvider();
DeviceProvider& VerbsProvider();

}  // namespace onepiece
