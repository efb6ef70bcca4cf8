// Memory that a process shares with one that it starts, by a descriptor that the other one inherits. Invariant: see
// module.cc; besides, what is mapped here never shrinks, so that no access ends a process.
#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "arguments.h"

namespace onepiece::addon {

namespace {

constexpr size_t kMostBytes = size_t{1} << 30;

void Unmap(napi_env, void* data, void* hint) { munmap(data, reinterpret_cast<size_t>(hint)); }

// An ArrayBuffer over the memory, which is unmapped when nobody holds the buffer any more; or a negative errno.
Napi::Value Map(Napi::Env env, int fd, size_t bytes) {
  void* base = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (base == MAP_FAILED) return Errno(env, -errno);
  napi_value buffer = nullptr;
  if (napi_create_external_arraybuffer(env, base, bytes, Unmap, reinterpret_cast<void*>(bytes), &buffer) != napi_ok) {
    munmap(base, bytes);
    return Errno(env, -ENOTSUP);
  }
  return Napi::Value(env, buffer);
}

// createSharedMemory(bytes): {fd, buffer}, zeroed, or a negative errno. The caller closes fd.
Napi::Value CreateSharedMemory(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  uint64_t bytes = 0;
  if (!ToAddress(Number(info, 0), &bytes) || bytes == 0 || bytes > kMostBytes) return Errno(env, -EINVAL);
  int fd = memfd_create("onepiece-shared", MFD_CLOEXEC | MFD_ALLOW_SEALING);
  if (fd < 0) return Errno(env, -errno);
  if (ftruncate(fd, static_cast<off_t>(bytes)) != 0 ||
      fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0) {
    int rc = -errno;
    close(fd);
    return Errno(env, rc);
  }
  Napi::Value buffer = Map(env, fd, bytes);
  if (buffer.IsNumber()) {
    close(fd);
    return buffer;
  }
  auto result = Napi::Object::New(env);
  result.Set("fd", fd);
  result.Set("buffer", buffer);
  return result;
}

// mapSharedMemory(fd, bytes): an ArrayBuffer over memory that another process has created, or a negative errno: -EINVAL
// for a descriptor of something else, and for one of another size.
Napi::Value MapSharedMemory(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  int fd = info[0].IsNumber() ? info[0].As<Napi::Number>().Int32Value() : -1;
  uint64_t bytes = 0;
  if (!ToAddress(Number(info, 1), &bytes) || bytes == 0 || bytes > kMostBytes) return Errno(env, -EINVAL);
  int seals = fcntl(fd, F_GET_SEALS);
  if (seals < 0) return Errno(env, -errno);
  struct stat status {};
  if (fstat(fd, &status) != 0) return Errno(env, -errno);
  if ((seals & F_SEAL_SHRINK) == 0 || static_cast<uint64_t>(status.st_size) != bytes) return Errno(env, -EINVAL);
  return Map(env, fd, bytes);
}

// releaseSharedMemory(ArrayBuffer): 0, or -EINVAL. It has no bytes afterwards, and its memory is unmapped soon.
Napi::Value ReleaseSharedMemory(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  if (!info[0].IsArrayBuffer()) return Errno(env, -EINVAL);
  return Errno(env, napi_detach_arraybuffer(env, info[0]) == napi_ok ? 0 : -EINVAL);
}

}  // namespace

void InstallSharedMemory(Napi::Env env, Napi::Object exports) {
  Export(env, exports, "createSharedMemory", CreateSharedMemory);
  Export(env, exports, "mapSharedMemory", MapSharedMemory);
  Export(env, exports, "releaseSharedMemory", ReleaseSharedMemory);
}

}  // namespace onepiece::addon
