// What one JavaScript environment (the main thread or a worker) has open.
//
// Invariant: JavaScript holds numbers, never pointers. A handle is `generation << 20 | index`; one that was closed,
// or belongs to another kind, is answered with -EBADF. When the environment ends, everything is closed, children
// before parents, and watched descriptors have left libuv before the loop goes away.
#pragma once

#include <napi.h>

#include <algorithm>
#include <cerrno>
#include <memory>
#include <unordered_map>
#include <vector>

#include "../device.h"

namespace onepiece::addon {

class Watcher;
class Environment;

// Parents before their children: CloseAll() goes through them backwards.
enum class Kind : uint8_t {
  kDevice,
  kCmChannel,
  kCmId,
  kProtectionDomain,
  kMemoryRegion,
  kMemoryWindow,
  kAddressHandle,
  kChannel,
  kCompletionQueue,
  kSharedReceiveQueue,
  kQueuePair,
  kRemoteMapping,
  kEventFd,
  kLast = kEventFd,
};

// Native memory shown to JavaScript as an ArrayBuffer; detached before the memory goes away.
class SharedBuffer {
 public:
  ~SharedBuffer() { Detach(); }
  // An ArrayBuffer over `data`; empty with a pending exception when the runtime does not allow it.
  Napi::Value Show(Napi::Env env, void* data, size_t bytes);
  void Detach();

 private:
  napi_env env_ = nullptr;
  napi_ref reference_ = nullptr;
};

// The watching of a descriptor by libuv; ends with the object that has it.
class Watch {
 public:
  ~Watch() { Stop(); }
  // 0; -EINVAL: watched already, or no function; -EIO: libuv refuses the descriptor.
  int Start(Environment& environment, Watched& watched, Napi::Value callback);
  bool KeepAlive(bool keep);  // false: not watching
  void Stop();

 private:
  Watcher* watcher_ = nullptr;  // owns itself: libuv frees it later than we stop
};

struct Object {
  explicit Object(Kind k) : kind(k) {}
  virtual ~Object() = default;
  virtual int Close() = 0;
  virtual int Raw(RawNumbers*) { return -ENOTSUP; }
  virtual Watch* Watching() { return nullptr; }
  const Kind kind;
  uint32_t handle = 0;
};

// Where the calls of the hot path find their arguments and leave their answer: see hot.cc and, for JavaScript,
// src/ts/addon/hot-calls.ts.
//
//  0       4      8    12     16     20      24       32
//  | handle| count| max| looks| stamp| answer| stampMs|
struct CallFrame {
  uint32_t handle = 0;
  uint32_t count = 0;
  uint32_t max = 0;
  uint32_t looks = 0;
  uint32_t stamp = 0;
  int32_t answer = 0;
  double stampMs = 0;
};
static_assert(sizeof(CallFrame) == 32);

// An object that holds nothing but one of device.h.
template <typename T, Kind K>
struct Holder : Object {
  static constexpr Kind kKind = K;
  Holder() : Object(K) {}
};

struct QpObject;

struct DeviceObject final : Holder<Device, Kind::kDevice>, Watched {
  int Close() override {
    int rc = device->Close();
    if (rc == 0) watch.Stop();
    return rc;
  }
  int Raw(RawNumbers* out) override { return device->Raw(out); }
  Watch* Watching() override { return &watch; }
  int Fd() const override { return device->EventFd(); }
  int Drain() override { return 1; }  // JavaScript takes the events
  std::unique_ptr<Device> device;
  std::unordered_map<uint32_t, QpObject*> qps;  // by number
  Watch watch;
};

struct PdObject final : Holder<ProtectionDomain, Kind::kProtectionDomain> {
  int Close() override { return pd->Close(); }
  int Raw(RawNumbers* out) override { return pd->Raw(out); }
  std::unique_ptr<ProtectionDomain> pd;
  DeviceObject* device = nullptr;
};

struct MrObject final : Holder<MemoryRegion, Kind::kMemoryRegion> {
  int Close() override {
    buffer.Detach();
    int rc = mr->Close();
    if (rc == 0) owner.Reset();
    return rc;
  }
  int Raw(RawNumbers* out) override { return mr->Raw(out); }
  Napi::ObjectReference owner;  // of memory that is not ours: before `mr`, which must be gone first
  std::unique_ptr<MemoryRegion> mr;
  SharedBuffer buffer;
};

struct MappingObject final : Holder<RemoteMapping, Kind::kRemoteMapping> {
  int Close() override {
    buffer.Detach();
    return mapping->Close();
  }
  std::unique_ptr<RemoteMapping> mapping;  // before `buffer`, which must be gone first
  SharedBuffer buffer;
};

struct MwObject final : Holder<MemoryWindow, Kind::kMemoryWindow> {
  int Close() override { return mw->Close(); }
  int Raw(RawNumbers* out) override { return mw->Raw(out); }
  std::unique_ptr<MemoryWindow> mw;
};

struct AhObject final : Holder<AddressHandle, Kind::kAddressHandle> {
  int Close() override { return ah->Close(); }
  int Raw(RawNumbers* out) override { return ah->Raw(out); }
  std::unique_ptr<AddressHandle> ah;
};

struct ChannelObject final : Holder<CompletionChannel, Kind::kChannel> {
  int Close() override {
    watch.Stop();  // libuv must let go of the descriptor before it is closed
    return channel->Close();
  }
  int Raw(RawNumbers* out) override { return channel->Raw(out); }
  Watch* Watching() override { return &watch; }
  std::unique_ptr<CompletionChannel> channel;
  Watch watch;
};

struct CqObject final : Holder<CompletionQueue, Kind::kCompletionQueue> {
  int Close() override {
    int rc = cq->Close();
    if (rc != 0) return rc;
    buffer.Detach();
    counters.Detach();
    return 0;
  }
  int Raw(RawNumbers* out) override { return cq->Raw(out); }
  // The queue pair of this number, if it is still there.
  QpObject* Find(uint32_t number);
  std::unique_ptr<CompletionQueue> cq;
  DeviceObject* device = nullptr;
  static constexpr size_t kRecent = 16;
  QpObject* recent[kRecent] = {};  // what Find found last, by the number's low bits
  std::vector<CompletionRecord> records;
  SharedBuffer buffer;
  SharedBuffer counters;
};

// Work requests that JavaScript fills: records, and behind them a word that says how many of the last post were taken.
template <typename Record>
struct RecordBuffer {
  Napi::Value Show(Napi::Env env, uint32_t queueLength, uint32_t maxBatch) {
    count = std::min(std::max(queueLength, 1u), maxBatch);
    records.resize(count + 1);
    return buffer.Show(env, records.data(), (count + 1) * kRecordBytes);
  }
  void SetTaken(int taken) { *reinterpret_cast<uint32_t*>(&records[count]) = static_cast<uint32_t>(taken); }
  std::vector<Record> records;
  uint32_t count = 0;
  SharedBuffer buffer;
};

struct SrqObject final : Holder<SharedReceiveQueue, Kind::kSharedReceiveQueue> {
  int Close() override {
    int rc = srq->Close();
    if (rc == 0) receives.buffer.Detach();
    return rc;
  }
  int Raw(RawNumbers* out) override { return srq->Raw(out); }
  std::unique_ptr<SharedReceiveQueue> srq;
  RecordBuffer<ReceiveRecord> receives;
};

struct QpObject final : Holder<QueuePair, Kind::kQueuePair> {
  ~QpObject() override { Detach(); }
  int Close() override {
    int rc = qp->Close();
    if (rc != 0) return rc;
    Detach();
    sends.buffer.Detach();
    receives.buffer.Detach();
    counters.Detach();
    return 0;
  }
  int Raw(RawNumbers* out) override { return qp->Raw(out); }
  // From now on completions are counted for this queue pair.
  void Attach(DeviceObject& device, CqObject& sendCq, CqObject& receiveCq);
  CqObject& SendQueue() { return *queues_[0]; }
  std::unique_ptr<QueuePair> qp;
  RecordBuffer<SendRecord> sends;
  RecordBuffer<ReceiveRecord> receives;
  SharedBuffer counters;

 private:
  void Detach();
  DeviceObject* device_ = nullptr;
  CqObject* queues_[2] = {};
  uint32_t number_ = 0;
};

class Environment {
 public:
  static Environment& Of(napi_env env);
  static void Install(napi_env env);

  uint32_t Add(std::unique_ptr<Object> object);
  int Close(uint32_t handle);

  template <typename T>
  T* Get(uint32_t handle) {
    Object* object = Any(handle);
    return object == nullptr || object->kind != T::kKind ? nullptr : static_cast<T*>(object);
  }

  // The object of any kind, or nullptr.
  Object* Any(uint32_t handle) {
    uint32_t index = handle & kIndexMask;
    if (index >= objects_.size() || !objects_[index] || objects_[index]->handle != handle) return nullptr;
    return objects_[index].get();
  }

  napi_env env() const { return env_; }
  CallFrame& frame() { return frame_; }
  napi_value ShowFrame() { return frameBuffer_.Show(Napi::Env(env_), &frame_, sizeof(frame_)); }
  void WatcherOpened() { watchers_++; }
  void WatcherClosed();

 private:
  static constexpr uint32_t kIndexBits = 20;
  static constexpr uint32_t kIndexMask = (1u << kIndexBits) - 1;

  explicit Environment(napi_env env) : env_(env), objects_(1), generations_(1) {}
  static void OnCleanup(napi_async_cleanup_hook_handle hook, void* data);
  void CloseAll();
  void MaybeFinish();

  napi_env env_;
  napi_async_cleanup_hook_handle hook_ = nullptr;
  std::vector<std::unique_ptr<Object>> objects_;
  std::vector<uint32_t> generations_;
  std::vector<uint32_t> free_;
  CallFrame frame_;
  SharedBuffer frameBuffer_;
  int watchers_ = 0;
  bool ending_ = false;
};

}  // namespace onepiece::addon
