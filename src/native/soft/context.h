// An opened soft device: its own directory, the peers it is connected to, and the engine thread.
//
// Invariant: slots of the directory are given out and taken back only here, on the JavaScript thread; a slot whose
// past user may still be inside (a peer stopped in the middle of a copy) stays in `zombies_` until that is disproved.
// The engine thread is started with the first connection and sleeps in the kernel unless work is pending: an idle
// device uses no CPU and no timer.
#pragma once

#include <pthread.h>

#include <condition_variable>
#include <mutex>
#include <unordered_map>
#include <vector>

#include "allocators.h"
#include "async_events.h"
#include "layout.h"
#include "peer.h"
#include "window_table.h"

namespace onepiece::soft {

class AddressHandle;
class CompletionChannel;
class CompletionQueue;
class ProtectionDomain;
class QueuePair;
class SharedReceiveQueue;
class SharedReceives;

class Context final : public Device {
 public:
  static int Open(std::unique_ptr<Device>* out);
  ~Context() override;

  int Query(DeviceAttributes* out) override;
  int QueryPort(uint32_t port, PortAttributes* out) override;
  int QueryGid(uint32_t port, uint32_t index, Gid* out, std::string* type, std::string* netdev) override;
  int AllocateProtectionDomain(std::unique_ptr<onepiece::ProtectionDomain>* out) override;
  int CreateChannel(std::unique_ptr<onepiece::CompletionChannel>* out) override;
  int CreateCq(uint32_t capacity, onepiece::CompletionChannel* channel,
               std::unique_ptr<onepiece::CompletionQueue>* out) override;
  int EventFd() const override { return eventRead_; }
  int NextEvent(AsyncEvent* out) override;
  int Raw(RawNumbers* out) override;
  int Close() override;

  const Directory& directory() const { return directory_; }
  uint64_t nonce() const { return nonce_; }
  const Gid& gid() const { return gid_; }

  int AttachPeer(const Gid& gid, std::shared_ptr<Peer>* out);
  // From now on `qp` runs when the peer dies; until Unschedule.
  void WatchPeer(QueuePair* qp, uint64_t nonce);
  // An asynchronous event of a queue pair of this device; from any thread.
  void RaiseQpEvent(uint32_t index, uint32_t type);

  // Queue pairs by slot index; only the JavaScript thread writes. Peers set bits of any index: nullptr where there is
  // none.
  QueuePair* qp(uint32_t index) const { return index < qps_.size() ? qps_[index] : nullptr; }
  int AddQp(QueuePair* qp, uint32_t* index);
  void RemoveQp(uint32_t index) { qps_[index] = nullptr; }
  // Places for datagrams: some that nobody uses at present, or new ones.
  int TakeDatagramReceives(uint32_t pd, uint32_t capacity, std::shared_ptr<SharedReceives>* out);
  template <typename F>
  void ForEachQp(F each) {
    for (QueuePair* qp : qps_) {
      if (qp != nullptr) each(*qp);
    }
  }
  // What is left of a queue pair that was closed.
  struct Remains {
    uint32_t index;
    uint64_t ringOffset;
    uint64_t ringBytes;
    std::shared_ptr<Peer> peer;
    uint32_t peerNumber;
    std::shared_ptr<SharedReceives> shared;  // whose receives it may hold
  };
  void FreeQpSlot(const Remains& remains);
  // Keeps the slot out of use until the peer's engine has been seen outside.
  void AddZombie(Remains remains);

  // True when no engine can be inside memory of this context that one of `keys` names. Waits for the engines of
  // this process as long as it takes (they leave after a chunk), for those of peers up to `waitMs`.
  bool AllQuiet(const std::vector<uint32_t>& keys, uint32_t waitMs);
  // False while some queue pair that was closed still has a peer inside.
  bool NoZombies();

  // Asks the engine thread to run `qp` at `dueNs` (0: now).
  void Schedule(QueuePair* qp, uint64_t dueNs);
  // After return the engine thread neither runs nor will run `qp`.
  void Unschedule(QueuePair* qp);

  KeyAllocator keys;
  IndexAllocator cqSlots{kMaxCqs};
  IndexAllocator srqSlots{kMaxSrqs};
  RangeAllocator ranges{kRingsOffset, kDirectoryBytes};
  uint64_t nextSerial = 1;
  uint32_t nextPd = 1;
  uint32_t nextSrq = 1;
  WindowTable windows;
  // What this process registered, by slot. The directory says the same to peers, who could change it there.
  MrSlot& localMr(uint32_t index) const { return localMrs_[index]; }
  // Shows a region or window to peers, or changes it.
  void PublishMr(uint32_t key, const MrSlot& from);
  uint32_t nextAh = 1;
  std::unordered_map<uint32_t, AddressHandle*> handles;
  int children = 0;
  // What lives here, so that an object of another device is known by its address alone and refused.
  std::vector<ProtectionDomain*> domains;
  std::vector<CompletionChannel*> channels;
  std::vector<CompletionQueue*> queues;
  std::vector<SharedReceiveQueue*> sharedQueues;
  // Receives of datagrams that no queue pair uses at present: their memory never becomes anything else, as a sender
  // that nobody knows may still look at it. See datagram_endpoint.h.
  std::vector<std::shared_ptr<SharedReceives>> datagramReceives;

 private:
  Context() = default;
  int Start();
  int StartThread();
  static void* RunThread(void* self);
  void Run();
  void Wake();
  void SweepZombies();

  Directory directory_;
  MrSlot* localMrs_ = nullptr;
  int directoryFd_ = -1;
  int wakeRead_ = -1;
  int wakeWrite_ = -1;
  int eventRead_ = -1;
  int eventWrite_ = -1;
  int epoll_ = -1;
  uint64_t nonce_ = 0;
  Gid gid_{};
  bool closed_ = false;
  IndexAllocator qpSlots_{kMaxQps};
  std::vector<QueuePair*> qps_;
  std::vector<uint32_t> qpGenerations_;
  std::vector<Remains> zombies_;

  std::mutex mutex_;  // guards what the engine thread and the JavaScript thread share, below
  std::condition_variable idle_;
  std::unordered_map<uint64_t, std::weak_ptr<Peer>> peers_;  // by nonce
  std::unordered_map<QueuePair*, uint64_t> due_;
  std::unordered_map<QueuePair*, uint64_t> watching_;  // whose peer has which nonce
  QueuePair* running_ = nullptr;
  bool stop_ = false;
  bool hasThread_ = false;
  pthread_t thread_{};
};

// A descriptor number of this process that peers can open through /proc.
int MakePipe(int* readEnd, int* writeEnd);

// True when the peer's queue pair `number` has no engine inside this process's directory or memory.
bool PeerIsQuiet(Peer& peer, uint32_t number);
// True when it has none inside the memory that `key` names.
bool PeerIsQuiet(Peer& peer, uint32_t number, uint32_t key);

}  // namespace onepiece::soft
