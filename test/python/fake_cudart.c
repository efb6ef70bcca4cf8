// A CUDA runtime for tests of machines without a GPU: the calls that onepiece_stage/cudart.py makes.
//
// Memory of a "device" is a memfd that this process has mapped. A handle names the process and its descriptor, so it is
// opened while its owner lives, a mapping outlives the owner, and nothing has a name that could be left behind.
// FAKE_CUDA_DEVICES: how many devices there are, default 1. FAKE_CUDA_IPC=0: no handles, as on a MIG device.
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { SUCCESS = 0, INVALID = 1, OUT_OF_MEMORY = 2, NOT_SUPPORTED = 801, DEVICES = 8, ALLOCATIONS = 1024 };

struct handle { int pid; int fd; size_t bytes; char rest[64 - 2 * sizeof(int) - sizeof(size_t)]; };
struct allocation { void *address; size_t bytes; int fd; };

static struct allocation made[ALLOCATIONS], opened[ALLOCATIONS];
static __thread int current;

static int count(void) {
  const char *set = getenv("FAKE_CUDA_DEVICES");
  return set == NULL ? 1 : atoi(set);
}

static struct allocation *find(struct allocation *in, void *address) {
  for (int i = 0; i < ALLOCATIONS; i++)
    if (in[i].address == address) return &in[i];
  return NULL;
}

const char *cudaGetErrorString(int code) {
  return code == OUT_OF_MEMORY ? "out of memory" : code == NOT_SUPPORTED ? "operation not supported" : "invalid argument";
}
int cudaGetLastError(void) { return SUCCESS; }
int cudaGetDeviceCount(int *found) { *found = count(); return SUCCESS; }
int cudaGetDevice(int *device) { *device = current; return SUCCESS; }
int cudaSetDevice(int device) {
  if (device < 0 || device >= count()) return INVALID;
  current = device;
  return SUCCESS;
}
int cudaDeviceSynchronize(void) { return SUCCESS; }
int cudaGetDeviceProperties(char *properties, int device) {
  memset(properties, 0, 1024);
  properties[256] = (char)(device + 1);
  return SUCCESS;
}

int cudaMalloc(void **address, size_t bytes) {
  const char *limit = getenv("FAKE_CUDA_BYTES");
  size_t used = 0;
  for (int i = 0; i < ALLOCATIONS; i++) used += made[i].bytes;
  if (limit != NULL && used + bytes > (size_t)atoll(limit)) return OUT_OF_MEMORY;
  struct allocation *to = find(made, NULL);
  if (to == NULL) return OUT_OF_MEMORY;
  int fd = memfd_create("fake-gpu", MFD_CLOEXEC);
  if (fd < 0 || ftruncate(fd, (off_t)bytes) != 0) return OUT_OF_MEMORY;
  void *mapped = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (mapped == MAP_FAILED) { close(fd); return OUT_OF_MEMORY; }
  *to = (struct allocation){ mapped, bytes, fd };
  *address = mapped;
  return SUCCESS;
}

int cudaFree(void *address) {
  struct allocation *of = address == NULL ? NULL : find(made, address);
  if (of == NULL) return INVALID;
  munmap(of->address, of->bytes);
  close(of->fd);
  *of = (struct allocation){ 0 };
  return SUCCESS;
}

int cudaMemcpy(void *to, const void *from, size_t bytes, int kind) {
  if (kind != 4) return INVALID;
  memcpy(to, from, bytes);
  return SUCCESS;
}

int cudaIpcGetMemHandle(struct handle *handle, void *address) {
  const char *set = getenv("FAKE_CUDA_IPC");
  if (set != NULL && strcmp(set, "0") == 0) return NOT_SUPPORTED;
  struct allocation *of = address == NULL ? NULL : find(made, address);
  if (of == NULL) return INVALID;
  memset(handle, 0, sizeof *handle);
  handle->pid = getpid();
  handle->fd = of->fd;
  handle->bytes = of->bytes;
  return SUCCESS;
}

int cudaIpcOpenMemHandle(void **address, struct handle handle, unsigned flags) {
  char path[64];
  struct allocation *to = find(opened, NULL);
  if (flags != 1 || to == NULL) return INVALID;
  snprintf(path, sizeof path, "/proc/%d/fd/%d", handle.pid, handle.fd);
  int fd = open(path, O_RDWR | O_CLOEXEC);
  if (fd < 0) return INVALID;
  void *mapped = mmap(NULL, handle.bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  close(fd);
  if (mapped == MAP_FAILED) return OUT_OF_MEMORY;
  *to = (struct allocation){ mapped, handle.bytes, -1 };
  *address = mapped;
  return SUCCESS;
}

int cudaIpcCloseMemHandle(void *address) {
  struct allocation *of = address == NULL ? NULL : find(opened, address);
  if (of == NULL) return INVALID;
  munmap(of->address, of->bytes);
  *of = (struct allocation){ 0 };
  return SUCCESS;
}
