// One end of a connection of soft devices, with everything below it, and the work requests of the tests in one line
// each.
//
// Invariant: what cannot be made, posted or had in time ends the process with a message, in every process and thread
// of a test alike; so a test never goes on with less than it thinks it has, and never hangs.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "../../src/native/device.h"

namespace onepiece::test {

constexpr uint32_t kAllAccess = kLocalWrite | kRemoteWrite | kRemoteRead | kRemoteAtomic;
constexpr uint64_t kPatienceMs = 20'000;

// Ends the process unless `good`.
void Must(bool good, const char* what, int rc = 0);
uint64_t NowMs();
// Looks again and again, up to `ms`; what it found last.
bool Until(const std::function<bool()>& condition, uint64_t ms = kPatienceMs);

// How to reach a side; goes through pipes.
struct Endpoint {
  Gid gid;
  uint32_t qpNumber;
  uint32_t rkey;
  uint64_t address;
  uint64_t bytes;
};

struct ConnectOptions {
  uint32_t access = kAllAccess;
  uint32_t timeout = 8;  // 4.096 us * 2^8: a millisecond
  uint32_t retryCount = 1;
  uint32_t rnrRetry = 7;
};

struct SideOptions {
  size_t bytes = 65536;
  uint32_t access = kAllAccess | kMwBindAllowed;
  QpType type = QpType::kReliable;
  uint32_t maxSendWr = 128;
  uint32_t maxRecvWr = 128;
};

// Members are destroyed in reverse: children before parents.
struct Side {
  explicit Side(const SideOptions& options = {});
  Gid gid{};
  std::unique_ptr<Device> device;
  std::unique_ptr<ProtectionDomain> pd;
  std::unique_ptr<CompletionQueue> cq;
  std::unique_ptr<MemoryRegion> mr;
  std::unique_ptr<QueuePair> qp;

  uint8_t* bytes() const { return static_cast<uint8_t*>(mr->Address()); }
  uint64_t* words() const { return static_cast<uint64_t*>(mr->Address()); }
  Endpoint endpoint() const { return EndpointOf(*qp, *mr); }
  Endpoint EndpointOf(const QueuePair& qp, const MemoryRegion& mr) const;
  std::unique_ptr<MemoryRegion> Register(size_t bytes, uint32_t access = kAllAccess) const;
  std::unique_ptr<MemoryRegion> Adopt(void* address, size_t bytes, uint32_t access) const;
  std::unique_ptr<QueuePair> CreateQp(const SideOptions& options = {}, SharedReceiveQueue* srq = nullptr) const;
};

std::unique_ptr<Device> OpenDevice();
Gid GidOf(Device& device);
// To READY_TO_SEND; the first error that is met.
int Connect(QueuePair& qp, const Gid& gid, uint32_t peerNumber, const ConnectOptions& options = {});
// Connects or ends the process.
void MustConnect(QueuePair& qp, const Endpoint& peer, const ConnectOptions& options = {});
void ConnectSides(Side& a, Side& b, const ConnectOptions& options = {});
int ToState(QueuePair& qp, QpState state);
QpState StateOf(QueuePair& qp);

// Each answers the record of a signaled request; `wrId` is 1 unless it is changed.
SendRecord Write(const MemoryRegion& from, const Endpoint& to, uint32_t bytes, uint64_t offset = 0);
SendRecord Read(const MemoryRegion& into, const Endpoint& from, uint32_t bytes, uint64_t offset = 0);
SendRecord Send(const MemoryRegion& from, uint32_t bytes);
SendRecord FetchAdd(const MemoryRegion& into, const Endpoint& at, uint64_t add);
SendRecord CompareSwap(const MemoryRegion& into, const Endpoint& at, uint64_t compare, uint64_t swap);
ReceiveRecord ReceiveInto(const MemoryRegion& mr, uint64_t offset, uint32_t bytes, double wrId = 1);

int Post(QueuePair& qp, const SendRecord& record);
int Post(QueuePair& qp, const ReceiveRecord& record);
// Posts or ends the process.
void MustPost(QueuePair& qp, const SendRecord& record);
void MustPost(QueuePair& qp, const ReceiveRecord& record);
// The next `count` completions.
std::vector<CompletionRecord> Take(CompletionQueue& cq, size_t count = 1);
CompletionStatus TakeStatus(CompletionQueue& cq);
// Polls once; false when nothing was there.
bool TryTake(CompletionQueue& cq, CompletionRecord* out);
// Waits for an asynchronous event; 0 when none comes in time.
uint32_t NextEventType(Device& device, uint64_t ms);

}  // namespace onepiece::test
