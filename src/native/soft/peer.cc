// Invariant: see peer.h.
#include "peer.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace onepiece::soft {

namespace {
constexpr size_t kMaxPipes = 64;
constexpr char kDirectoryLink[] = "/memfd:onepiece-directory";

// What this process lacks is said as it is; that a process or its descriptor is not there means that nobody is.
int WhyNotReached(int rc) {
  switch (rc) {
    case -EACCES:
    case -EPERM:
      return -EACCES;
    case -EMFILE:
    case -ENFILE:
    case -ENOMEM:
      return rc;
    default:
      return -EHOSTUNREACH;
  }
}

// An address may come from anybody. What else the descriptor may stand for is not opened: that alone can have effects.
bool IsDirectory(uint32_t pid, uint32_t fd, int* why) {
  char path[64];
  snprintf(path, sizeof path, "/proc/%u/fd/%u", pid, fd);
  char name[sizeof kDirectoryLink] = {};
  ssize_t length = readlink(path, name, sizeof name - 1);
  *why = length < 0 ? WhyNotReached(-errno) : -EHOSTUNREACH;
  return length == sizeof name - 1 && memcmp(name, kDirectoryLink, sizeof name - 1) == 0;
}

}  // namespace

Mapping::~Mapping() {
  munmap(base_, length_);
  if (fd_ >= 0) close(fd_);
}

int Peer::Attach(const Gid& gid, std::shared_ptr<Peer>* out) {
  uint32_t fd = 0;
  uint32_t pid = 0;
  uint64_t nonce = 0;
  if (!ParseGid(gid, &fd, &pid, &nonce)) return -EINVAL;
  std::shared_ptr<Peer> peer(new (std::nothrow) Peer());
  if (!peer) return -ENOMEM;
  // The pidfd comes first: if the nonce then fits, it refers to the process that made the directory.
  peer->pidFd_ = static_cast<int>(syscall(SYS_pidfd_open, pid, 0));
  if (peer->pidFd_ < 0) return errno == ESRCH || errno == EINVAL ? -EHOSTUNREACH : -errno;
  int directoryFd = -1;
  int rc = 0;
  if (!IsDirectory(pid, fd, &rc)) return rc;
  rc = OpenForeign(pid, fd, O_RDWR, 0, &directoryFd);
  if (rc != 0) return WhyNotReached(rc);
  off_t size = lseek(directoryFd, 0, SEEK_END);
  // A directory is sealed against shrinking, so that reading it cannot fault; anything else is not one.
  int seals = fcntl(directoryFd, F_GET_SEALS);
  if (size != static_cast<off_t>(kDirectoryBytes) || seals < 0 || (seals & F_SEAL_SHRINK) == 0) {
    close(directoryFd);
    return -EHOSTUNREACH;
  }
  void* base = mmap(nullptr, kDirectoryBytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, directoryFd, 0);
  rc = -errno;
  close(directoryFd);
  if (base == MAP_FAILED) return rc;
  peer->directory_.base = static_cast<uint8_t*>(base);
  const Header& header = peer->directory_.header();
  if (header.magic != kMagic || header.nonce != nonce || header.pid != pid) return -EHOSTUNREACH;
  if (header.version != kLayoutVersion) return -EPROTONOSUPPORT;
  peer->nonce_ = nonce;
  peer->pid_ = pid;
  peer->Spare();
  *out = std::move(peer);
  return 0;
}

Peer::~Peer() {
  ForgetPipes();
  if (directory_.base != nullptr) munmap(directory_.base, kDirectoryBytes);
  if (pidFd_ >= 0) close(pidFd_);
  if (spareFd_ >= 0) close(spareFd_);
  if (memory_ >= 0) close(memory_);
}

void Peer::Spare() {
  // Not a copy of the pidfd: a set that waits for that one has it until its last copy is closed.
  if (spareFd_ < 0) spareFd_ = open("/dev/null", O_RDONLY | O_CLOEXEC);
}

bool ProcessIsDead(uint32_t pid) {
  int fd = static_cast<int>(syscall(SYS_pidfd_open, pid, 0));
  if (fd < 0) return errno == ESRCH;
  pollfd entry{fd, POLLIN, 0};
  bool dead = poll(&entry, 1, 0) == 1;
  close(fd);
  return dead;
}

// Not process_vm_writev(2), which names the process by its number: an initiator that is stopped before the call and
// wakes when the number is somebody else's would write there. This descriptor refers to the address space itself, and
// for no other one ever; the same permission (ptrace) is asked when it is opened.
int Peer::PlaceOf(uint64_t address, Place* out) {
  std::lock_guard<std::mutex> lock(mutex_);
  if (memory_ < 0) {
    char path[32];
    snprintf(path, sizeof path, "/proc/%u/mem", pid_);
    int fd = open(path, O_RDWR | O_CLOEXEC);
    if (fd < 0) return errno == EACCES || errno == EPERM ? -EPERM : -errno;
    // Still alive, so the number was its own when it was opened.
    if (CheckDead()) {
      close(fd);
      return -ESRCH;
    }
    memory_ = fd;
  }
  *out = {nullptr, memory_, address};
  return 0;
}

bool Peer::IsEnding() const {
  char path[32];
  snprintf(path, sizeof path, "/proc/%u/statm", pid_);
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  char pages = '0';  // the first figure: all of its address space
  if (fd >= 0) {
    if (read(fd, &pages, 1) != 1) pages = '0';
    close(fd);
  }
  return pages == '0';
}

void Peer::ForgetPipes() {
  for (const auto& [inode, fd] : pipes_) close(fd);
  pipes_.clear();
}

bool Peer::CheckDead() {
  if (dead()) return true;
  pollfd entry{pidFd_, POLLIN, 0};
  if (poll(&entry, 1, 0) == 1) MarkDead();
  return dead();
}

std::shared_ptr<Mapping> Peer::Find(uint64_t serial) {
  auto found = mappings_.find(serial);
  if (found != mappings_.end()) {
    if (std::shared_ptr<Mapping> mapping = found->second.lock()) return mapping;
  }
  for (auto it = mappings_.begin(); it != mappings_.end();) {
    it = it->second.expired() ? mappings_.erase(it) : std::next(it);
  }
  return nullptr;
}

int Peer::Open(const MrView& region, int* fd) const { return OpenForeign(pid_, region.fd, O_RDWR, region.inode, fd); }

int Peer::MapFile(const MrView& region, int fd, std::shared_ptr<Mapping>* out) {
  off_t size = lseek(fd, 0, SEEK_END);
  int seals = fcntl(fd, F_GET_SEALS);
  bool isSealed = seals >= 0 && (seals & F_SEAL_SHRINK) != 0;
  if (size < 0 || static_cast<uint64_t>(size) < region.length || !isSealed) return -ESTALE;
  // The event loop may wait for this: a page costs tens of nanoseconds. Of more, each page comes with its first copy.
  constexpr off_t kMaxPopulateBytes = off_t{16} << 20;
  int populate = size <= kMaxPopulateBytes ? MAP_POPULATE : 0;
  void* base = mmap(nullptr, static_cast<size_t>(size), PROT_READ | PROT_WRITE, MAP_SHARED | populate, fd, 0);
  if (base == MAP_FAILED) return -errno;
  *out = std::make_shared<Mapping>(static_cast<uint8_t*>(base), static_cast<size_t>(size), region.serial);
  mappings_[region.serial] = *out;
  return 0;
}

int Peer::Map(const MrView& region, std::shared_ptr<Mapping>* out) {
  std::lock_guard<std::mutex> lock(mutex_);
  *out = Find(region.serial);
  if (*out) return 0;
  int fd = -1;
  int rc = Open(region, &fd);
  if (rc != 0) return rc;
  rc = MapFile(region, fd, out);
  close(fd);
  return rc;
}

int Peer::MapToKeep(const MrView& region, std::shared_ptr<Mapping>* out) {
  std::lock_guard<std::mutex> lock(mutex_);
  *out = Find(region.serial);
  if (*out && (*out)->fd() >= 0) return 0;
  int fd = -1;
  int rc = Open(region, &fd);
  if (rc == 0 && !*out) rc = MapFile(region, fd, out);
  if (rc == 0) {
    (*out)->Keep(fd);
  } else {
    if (fd >= 0) close(fd);
    out->reset();
  }
  return rc;
}

void Peer::Signal(uint32_t fd, uint64_t inode) {
  std::lock_guard<std::mutex> lock(mutex_);
  auto found = pipes_.find(inode);
  if (found == pipes_.end()) {
    int opened = -1;
    // For reading too: a pipe of which nobody holds the other end raises SIGPIPE, which not every program ignores.
    int rc = OpenForeign(pid_, fd, O_RDWR, inode, &opened);
    if (rc == -EMFILE && spareFd_ >= 0) {
      // Nobody else wakes the peer for what it is to see now: its arming has been taken.
      close(spareFd_);
      spareFd_ = -1;
      rc = OpenForeign(pid_, fd, O_RDWR, inode, &opened);
    }
    if (rc != 0) return;  // the peer is closing it or is dead
    Spare();
    if (pipes_.size() >= kMaxPipes) ForgetPipes();  // most are of channels that the peer has closed since
    found = pipes_.emplace(inode, opened).first;
  }
  const char one = 1;
  // A full pipe is readable already, or belongs to a peer that is gone.
  [[maybe_unused]] ssize_t written = write(found->second, &one, 1);
}

}  // namespace onepiece::soft
