// An opened soft device: its own directory, the peers it is connected to, and the engine thread.
//
// Invariant: slots of the directory are given out and taken back only here, on the JavaScript thread; a slot whose
// past user may still be inside (a peer stopped in the middle of a copy) stays in `zombies_` until that is disproved.
// The engine thread is started with the first connection and sleeps in the kernel unless work is pending: an idle
// device uses no CPU and no timer.
#pragma once

#include <pthread.h>

#include <condition_variable>
#include <map>
#include <mutex>
#include <unordered_map>
#include <vector>

#include "layout.h"
#include "peer.h"

namespace onepiece::soft {

class CompletionChannel;
class CompletionQueue;
class QueuePair;

// First-fit over page ranges of the directory.
class RangeAllocator {
 public:
  RangeAllocator(uint64_t begin, uint64_t end) { free_[begin] = end - begin; }
  bool Take(uint64_t bytes, uint64_t* offset);
  void Give(uint64_t offset, uint64_t bytes);

 private:
  std::map<uint64_t, uint64_t> free_;  // offset -> bytes
};

// A table of slot numbers; 0 is never given out.
class IndexAllocator {
 public:
  explicit IndexAllocator(uint32_t limit) : limit_(limit) {}
  bool Take(uint32_t* index);
  void Give(uint32_t index) { free_.push_back(index); }

 private:
  uint32_t limit_;
  uint32_t next_ = 1;
  std::vector<uint32_t> free_;
};

class Context final : public Device {
 public:
  static int Open(std::unique_ptr<Device>* out);
  ~Context() override;

  int Query(DeviceAttributes* out) override;
  int QueryPort(uint32_t port, PortAttributes* out) override;
  int QueryGid(uint32_t port, uint32_t index, Gid* out, std::string* type, std::string* netdev) override;
  int AllocateProtectionDomain(std::unique_ptr<ProtectionDomain>* out) override;
  int CreateChannel(std::unique_ptr<onepiece::CompletionChannel>* out) override;
  int CreateCq(uint32_t capacity, onepiece::CompletionChannel* channel,
               std::unique_ptr<onepiece::CompletionQueue>* out) override;
  int Close() override;

  const Directory& directory() const { return directory_; }
  uint64_t nonce() const { return nonce_; }
  const Gid& gid() const { return gid_; }

  int AttachPeer(const Gid& gid, std::shared_ptr<Peer>* out);

  // Queue pairs by slot index; only the JavaScript thread writes.
  QueuePair* qp(uint32_t index) const { return qps_[index]; }
  int AddQp(QueuePair* qp, uint32_t* index);
  void RemoveQp(uint32_t index) { qps_[index] = nullptr; }
  void FreeQpSlot(uint32_t index, uint64_t ringOffset, uint64_t ringBytes);
  // Keeps the slot out of use until the peer's engine has been seen outside.
  void AddZombie(uint32_t index, uint64_t ringOffset, uint64_t ringBytes, std::shared_ptr<Peer> peer, uint32_t number);

  // True when no engine can be inside memory of this context. Waits for the engines of this process as long as it
  // takes (they leave after a chunk), for those of peers up to `waitMs`.
  bool AllQuiet(uint32_t waitMs);

  // Asks the engine thread to run `qp` at `dueNs` (0: now).
  void Schedule(QueuePair* qp, uint64_t dueNs);
  // After return the engine thread neither runs nor will run `qp`.
  void Unschedule(QueuePair* qp);

  IndexAllocator mrSlots{kMaxMrs};
  IndexAllocator cqSlots{kMaxCqs};
  RangeAllocator ranges{kRingsOffset, kDirectoryBytes};
  uint64_t nextSerial = 1;
  uint32_t nextPd = 1;
  uint32_t nextKeySalt = 0;
  int children = 0;
  // What lives here, so that an object of another device is known by its address alone and refused.
  std::vector<CompletionChannel*> channels;
  std::vector<CompletionQueue*> queues;

 private:
  struct Zombie {
    uint32_t index;
    uint64_t ringOffset;
    uint64_t ringBytes;
    std::shared_ptr<Peer> peer;
    uint32_t number;
  };

  Context() = default;
  int Start();
  int StartThread();
  static void* RunThread(void* self);
  void Run();
  void Wake();
  void SweepZombies();

  Directory directory_;
  int directoryFd_ = -1;
  int wakeRead_ = -1;
  int wakeWrite_ = -1;
  int epoll_ = -1;
  uint64_t nonce_ = 0;
  Gid gid_{};
  bool closed_ = false;
  IndexAllocator qpSlots_{kMaxQps};
  std::vector<QueuePair*> qps_;
  std::vector<uint32_t> qpGenerations_;
  std::vector<Zombie> zombies_;

  std::mutex mutex_;  // guards what the engine thread and the JavaScript thread share, below
  std::condition_variable idle_;
  std::unordered_map<uint64_t, std::weak_ptr<Peer>> peers_;  // by nonce
  std::unordered_map<QueuePair*, uint64_t> due_;
  QueuePair* running_ = nullptr;
  bool stop_ = false;
  bool hasThread_ = false;
  pthread_t thread_{};
};

// A descriptor number of this process that peers can open through /proc.
int MakePipe(int* readEnd, int* writeEnd);

// True when the peer's queue pair `number` has no engine inside this process's memory.
bool PeerIsQuiet(Peer& peer, uint32_t number);

}  // namespace onepiece::soft
