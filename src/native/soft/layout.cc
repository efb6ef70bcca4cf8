// Invariant: nothing is opened by a name that another user could guess or occupy; /proc/PID/fd is guarded by the
// kernel (same user, same PID namespace), and the opened file's inode is compared with the one that its owner
// published.
#include "layout.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

namespace onepiece::soft {

Gid MakeGid(uint32_t directoryFd, uint32_t pid, uint64_t nonce) {
  Gid gid{};
  gid.raw[0] = 0xfd;
  for (int i = 0; i < 3; i++) gid.raw[1 + i] = static_cast<uint8_t>(directoryFd >> (8 * (2 - i)));
  for (int i = 0; i < 4; i++) gid.raw[4 + i] = static_cast<uint8_t>(pid >> (8 * (3 - i)));
  for (int i = 0; i < 8; i++) gid.raw[8 + i] = static_cast<uint8_t>(nonce >> (8 * (7 - i)));
  return gid;
}

bool ParseGid(const Gid& gid, uint32_t* directoryFd, uint32_t* pid, uint64_t* nonce) {
  *directoryFd = 0;
  *pid = 0;
  *nonce = 0;
  for (int i = 0; i < 3; i++) *directoryFd = *directoryFd << 8 | gid.raw[1 + i];
  for (int i = 0; i < 4; i++) *pid = *pid << 8 | gid.raw[4 + i];
  for (int i = 0; i < 8; i++) *nonce = *nonce << 8 | gid.raw[8 + i];
  return gid.raw[0] == 0xfd && *pid != 0 && *pid <= 0x7fffffffu && *nonce != 0;
}

int InodeOf(int fd, uint64_t* inode) {
  struct stat status {};
  if (fstat(fd, &status) != 0) return -errno;
  *inode = status.st_ino;
  return 0;
}

int OpenForeign(uint32_t pid, uint32_t fd, int flags, uint64_t inode, int* out) {
  char path[64];
  snprintf(path, sizeof path, "/proc/%u/fd/%u", pid, fd);
  // O_NONBLOCK: should the number stand for something else by now, the open must not hang on it.
  int opened = open(path, flags | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
  if (opened < 0) return -errno;
  uint64_t found = 0;
  int rc = InodeOf(opened, &found);
  if (rc == 0 && inode != 0 && found != inode) rc = -ESTALE;
  if (rc != 0) {
    close(opened);
    return rc;
  }
  *out = opened;
  return 0;
}

uint64_t NowNs() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<uint64_t>(now.tv_sec) * 1000000000ULL + static_cast<uint64_t>(now.tv_nsec);
}

}  // namespace onepiece::soft
