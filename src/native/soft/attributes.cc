// What the soft device says of itself.
// Invariant: every number is what the code keeps to, not what would look good.
#include <dirent.h>
#include <errno.h>
#include <stdio.h>

#include "address_handle.h"
#include "completion_queue.h"
#include "queue_pair.h"

namespace onepiece::soft {

namespace {

// Ordinary pages, and the huge ones that this kernel knows.
uint64_t PageSizes() {
  uint64_t sizes = kPageBytes;
  DIR* folder = opendir("/sys/kernel/mm/hugepages");
  if (folder == nullptr) return sizes;
  while (const dirent* entry = readdir(folder)) {
    unsigned long long kib = 0;
    if (sscanf(entry->d_name, "hugepages-%llukB", &kib) == 1) sizes |= uint64_t{kib} * 1024;
  }
  closedir(folder);
  return sizes;
}

}  // namespace

int Context::Query(DeviceAttributes* out) {
  out->firmware = "soft/1";
  out->nodeGuid = nonce_;
  out->maxMrBytes = uint64_t{1} << 46;
  out->pageSizes = PageSizes();
  out->maxQp = kMaxQps - 1;
  out->maxQpWr = kMaxQpWr;
  out->maxSge = kMaxSge;
  out->maxCq = kMaxCqs - 1;
  out->maxCqe = kMaxCqe;
  out->maxMr = kMaxMrs - 1;
  out->maxPd = 1u << 30;
  out->maxMw = kMaxMrs - 1;
  out->maxSrq = kMaxSrqs - 1;
  out->maxSrqWr = kMaxQpWr;
  out->maxSrqSge = kMaxSge;
  out->maxAh = kMaxAhs;
  out->maxSgeRead = kMaxSge;
  out->maxQpReadAtomic = 128;
  out->maxQpInitiatorReadAtomic = 128;
  // Global: the engines use the CPU's own atomic instructions on the same pages, so they agree with `Atomics` of
  // JavaScript and with atomics of every other process and device that are CPU instructions.
  out->atomicCapability = 2;
  out->portCount = 1;
  return 0;
}

int Context::QueryPort(uint32_t port, PortAttributes* out) {
  if (port != 1) return -EINVAL;
  out->state = 4;
  out->maxMtu = 5;
  out->activeMtu = 5;
  out->gidTableLength = 1;
  out->linkLayer = 3;
  out->maxMessageBytes = 1u << 31;
  return 0;
}

int Context::QueryGid(uint32_t port, uint32_t index, Gid* out, std::string* type, std::string* netdev) {
  if (port != 1 || index != 0) return -EINVAL;
  *out = gid_;
  *type = "soft";
  netdev->clear();
  return 0;
}

}  // namespace onepiece::soft
