// What the benchmarks measure beside the library: a plain copy. And an eventfd that libuv watches, by which processes
// of Python wake ours. Invariant: see module.cc.
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <chrono>

#include "arguments.h"
#include "watcher.h"

namespace onepiece::addon {

namespace {

// Its watching is that of a completion channel, so that a comparison of both is one of what lies below.
struct EventFdObject final : Holder<EventFdObject, Kind::kEventFd>, Watched {
  ~EventFdObject() override { Close(); }
  int Close() override {
    watch.Stop();
    if (fd >= 0) close(fd);
    fd = -1;
    return 0;
  }
  Watch* Watching() override { return &watch; }
  int Fd() const override { return fd; }
  int Drain() override {
    uint64_t count = 0;
    return read(fd, &count, sizeof count) == static_cast<ssize_t>(sizeof count) ? 1 : 0;
  }
  int fd = -1;
  Watch watch;
};

// A descriptor of our own for the eventfd that has this number; -errno for anything else, which is not touched.
int Inherit(uint32_t number) {
  constexpr char kLink[] = "anon_inode:[eventfd]";
  char path[64];
  char name[sizeof kLink] = {};
  snprintf(path, sizeof path, "/proc/self/fd/%u", number);
  ssize_t length = readlink(path, name, sizeof name);
  if (length < 0) return errno == ENOENT ? -EBADF : -errno;
  auto fd = static_cast<int>(number);
  bool isEventFd = static_cast<size_t>(length) == sizeof kLink - 1 && memcmp(name, kLink, sizeof kLink - 1) == 0;
  if (!isEventFd || (fcntl(fd, F_GETFL) & O_NONBLOCK) == 0) return -EINVAL;
  int own = fcntl(fd, F_DUPFD_CLOEXEC, 0);
  return own < 0 ? -errno : own;
}

// createEventFd(inherited): -errno, or {handle, fd}. `inherited` is the number under which the parent gave it, 0: a new
// one
Napi::Value CreateEventFd(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  auto object = std::make_unique<EventFdObject>();
  uint32_t inherited = Word(info, 0);
  if (inherited != 0) {
    object->fd = Inherit(inherited);
    if (object->fd < 0) return Errno(env, object->fd);
  } else {
    object->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (object->fd < 0) return Errno(env, -errno);
  }
  auto result = Napi::Object::New(env);
  result.Set("fd", object->fd);
  return AddObject(env, std::move(object), result);
}

// watchEventFd(eventFd, callback): calls back after the count was taken; keeps the process alive
Napi::Value WatchEventFd(const Napi::CallbackInfo& info) {
  auto* object = Get<EventFdObject>(info, 0);
  if (object == nullptr) return Errno(info.Env(), -EBADF);
  int rc = object->watch.Start(Environment::Of(info.Env()), *object, info[1]);
  if (rc == 0) object->watch.KeepAlive(true);
  return Errno(info.Env(), rc);
}

napi_value Int32(napi_env env, int32_t value) {
  napi_value result = nullptr;
  napi_create_int32(env, value, &result);
  return result;
}

// signalEventFd(eventFd): in raw Node-API, as the hot path is
napi_value SignalEventFd(napi_env env, napi_callback_info info) {
  size_t argc = 1;
  napi_value argv[1] = {};
  void* data = nullptr;
  uint32_t handle = 0;
  napi_get_cb_info(env, info, &argc, argv, nullptr, &data);
  if (argc > 0) napi_get_value_uint32(env, argv[0], &handle);
  auto* object = static_cast<Environment*>(data)->Get<EventFdObject>(handle);
  if (object == nullptr) return Int32(env, -EBADF);
  const uint64_t one = 1;
  return Int32(env, write(object->fd, &one, sizeof one) == static_cast<ssize_t>(sizeof one) ? 0 : -errno);
}

// timeCopy(to, from, bytes): nanoseconds of one memcpy between the beginnings of two ArrayBuffers, or -EINVAL
Napi::Value TimeCopy(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  if (!info[0].IsArrayBuffer() || !info[1].IsArrayBuffer()) return Errno(env, -EINVAL);
  auto to = info[0].As<Napi::ArrayBuffer>();
  auto from = info[1].As<Napi::ArrayBuffer>();
  uint64_t bytes = 0;
  if (!ToAddress(Number(info, 2), &bytes) || bytes > to.ByteLength() || bytes > from.ByteLength()) {
    return Errno(env, -EINVAL);
  }
  using Clock = std::chrono::steady_clock;
  void* target = to.Data();
  const void* source = from.Data();
  const auto begin = Clock::now();
  memcpy(target, source, bytes);
  const std::chrono::duration<double, std::nano> took = Clock::now() - begin;
  return Napi::Number::New(env, took.count());
}

}  // namespace

void InstallMeasuring(Napi::Env env, Napi::Object exports) {
  Export(env, exports, "createEventFd", CreateEventFd);
  Export(env, exports, "watchEventFd", WatchEventFd);
  Export(env, exports, "timeCopy", TimeCopy);
  napi_value signal = nullptr;
  napi_create_function(env, "signalEventFd", NAPI_AUTO_LENGTH, SignalEventFd, &Environment::Of(env), &signal);
  exports.Set("signalEventFd", Napi::Value(env, signal));
}

}  // namespace onepiece::addon
