// A peer: the directory of another opened soft device (or of this one), mapped here.
//
// Invariant: a mapping of a peer's memory lives exactly as long as somebody holds its shared_ptr, so an engine never
// touches an unmapped page; that the *owner* still allows the access is checked again before every copy.
#pragma once

#include <errno.h>

#include <atomic>
#include <map>
#include <memory>
#include <mutex>

#include "layout.h"

namespace onepiece::soft {

// Where bytes of a peer lie: in pages mapped here, or in its own address space.
struct Place {
  uint8_t* pointer = nullptr;
  int memory = -1;  // descriptor of the peer's /proc/PID/mem, when there is no pointer
  uint64_t address = 0;  // in it
  Place operator+(uint64_t bytes) const { return {pointer == nullptr ? nullptr : pointer + bytes, memory, address + bytes}; }
};

// Pages of a peer's memory region.
class Mapping {
 public:
  Mapping(uint8_t* base, size_t length, uint64_t serial) : base_(base), length_(length), serial_(serial) {}
  ~Mapping();
  Mapping(const Mapping&) = delete;
  Mapping& operator=(const Mapping&) = delete;
  // Where `length` bytes from `offset` lie; -EACCES when they are not all in it.
  int At(uint64_t offset, uint64_t length, uint8_t** out) const {
    if (offset > length_ || length > length_ - offset) return -EACCES;
    *out = base_ + offset;
    return 0;
  }
  uint64_t serial() const { return serial_; }
  // Where `address`, in the pages, lies in their memfd.
  uint64_t OffsetOf(const uint8_t* address) const { return static_cast<uint64_t>(address - base_); }
  // A descriptor of the memfd, for as long as the pages are mapped; -1: none was kept.
  int fd() const { return fd_; }
  void Keep(int fd) { fd_ = fd; }

 private:
  uint8_t* base_;
  size_t length_;
  uint64_t serial_;
  int fd_ = -1;
};

class Peer {
 public:
  // 0, or -EHOSTUNREACH when no such device is there, -EACCES when it is another user's, -EPERM or -ENOSYS when
  // pidfd_open(2) is refused, -EMFILE, -ENFILE or -ENOMEM.
  static int Attach(const Gid& gid, std::shared_ptr<Peer>* out);
  ~Peer();
  Peer(const Peer&) = delete;
  Peer& operator=(const Peer&) = delete;

  const Directory& directory() const { return directory_; }
  uint64_t nonce() const { return nonce_; }
  int pidFd() const { return pidFd_; }
  bool dead() const { return dead_.load(std::memory_order_acquire); }
  void MarkDead() { dead_.store(true, std::memory_order_release); }
  // Asks the kernel, for when the engine thread may not have noticed yet.
  bool CheckDead();

  // True when it has no memory any more, which is so from some time before it is dead.
  bool IsEnding() const;

  // The pages behind a slot whose key was just checked; shared by all queue pairs to this peer.
  int Map(const MrView& region, std::shared_ptr<Mapping>* out);
  // The same with a descriptor of the pages, so that they can be handed on when the peer is gone.
  int MapToKeep(const MrView& region, std::shared_ptr<Mapping>* out);
  // Writes a byte into a pipe of the peer's: its completion channel or its engine thread's wake-up.
  void Signal(uint32_t fd, uint64_t inode);
  // Memory that has no pages of its own to map: an address in the peer's process.
  int PlaceOf(uint64_t address, Place* out);
  void SignalEvents() { Signal(directory_.header().eventFd, directory_.header().eventInode); }
  void WakeEngine() { Signal(directory_.header().wakeFd, directory_.header().wakeInode); }

 private:
  Peer() = default;
  // Keeps a descriptor back, where there is one.
  void Spare();
  void ForgetPipes();
  // Under the lock: what is mapped already, or nothing.
  std::shared_ptr<Mapping> Find(uint64_t serial);
  int Open(const MrView& region, int* fd) const;
  // Maps the file that `fd` refers to.
  int MapFile(const MrView& region, int fd, std::shared_ptr<Mapping>* out);

  Directory directory_;
  uint64_t nonce_ = 0;
  uint32_t pid_ = 0;
  int pidFd_ = -1;
  int spareFd_ = -1;  // kept so that a pipe can be opened when this process has no other descriptor left
  std::atomic<bool> dead_{false};
  std::atomic<int> memory_{-1};
  std::mutex mutex_;  // guards the two maps; never held during a copy
  std::map<uint64_t, std::weak_ptr<Mapping>> mappings_;  // by serial
  std::map<uint64_t, int> pipes_;  // by inode
};

// True when no such process runs any more (it may not have been waited for).
bool ProcessIsDead(uint32_t pid);

}  // namespace onepiece::soft
