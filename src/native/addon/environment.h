// What one JavaScript environment (the main thread or a worker) has open.
//
// Invariant: JavaScript holds numbers, never pointers. A handle is `generation << 20 | index`; one that was closed,
// or belongs to another kind, is answered with -EBADF. When the environment ends, everything is closed, children
// before parents, and watched descriptors have left libuv before the loop goes away.
#pragma once

#include <napi.h>

#include <memory>
#include <vector>

#include "../device.h"

namespace onepiece::addon {

class Watcher;

enum class Kind : uint8_t { kDevice, kProtectionDomain, kMemoryRegion, kChannel, kCompletionQueue, kQueuePair };

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

struct Object {
  explicit Object(Kind k) : kind(k) {}
  virtual ~Object() = default;
  virtual int Close() = 0;
  const Kind kind;
  uint32_t handle = 0;
};

struct DeviceObject final : Object {
  static constexpr Kind kKind = Kind::kDevice;
  DeviceObject() : Object(kKind) {}
  int Close() override { return device->Close(); }
  std::unique_ptr<Device> device;
};

struct PdObject final : Object {
  static constexpr Kind kKind = Kind::kProtectionDomain;
  PdObject() : Object(kKind) {}
  int Close() override { return pd->Close(); }
  std::unique_ptr<ProtectionDomain> pd;
};

struct MrObject final : Object {
  static constexpr Kind kKind = Kind::kMemoryRegion;
  MrObject() : Object(kKind) {}
  int Close() override {
    buffer.Detach();
    return mr->Close();
  }
  std::unique_ptr<MemoryRegion> mr;
  SharedBuffer buffer;
};

struct ChannelObject final : Object {
  static constexpr Kind kKind = Kind::kChannel;
  ChannelObject();
  ~ChannelObject() override;
  int Close() override;
  std::unique_ptr<CompletionChannel> channel;
  Watcher* watcher = nullptr;  // owns itself: libuv frees it later than we close
};

struct CqObject final : Object {
  static constexpr Kind kKind = Kind::kCompletionQueue;
  CqObject() : Object(kKind) {}
  int Close() override {
    int rc = cq->Close();
    if (rc == 0) buffer.Detach();
    return rc;
  }
  std::unique_ptr<CompletionQueue> cq;
  std::vector<CompletionRecord> records;
  SharedBuffer buffer;
};

struct QpObject final : Object {
  static constexpr Kind kKind = Kind::kQueuePair;
  QpObject() : Object(kKind) {}
  int Close() override {
    int rc = qp->Close();
    if (rc == 0) {
      sendBuffer.Detach();
      receiveBuffer.Detach();
    }
    return rc;
  }
  std::unique_ptr<QueuePair> qp;
  // How many records of the last post were taken, where JavaScript reads it: the last word of each buffer.
  std::vector<SendRecord> sendRecords;
  std::vector<ReceiveRecord> receiveRecords;
  uint32_t sendCount = 0;
  uint32_t receiveCount = 0;
  SharedBuffer sendBuffer;
  SharedBuffer receiveBuffer;
};

class Environment {
 public:
  static Environment& Of(napi_env env);
  static void Install(napi_env env);

  uint32_t Add(std::unique_ptr<Object> object);
  int Close(uint32_t handle);

  template <typename T>
  T* Get(uint32_t handle) {
    uint32_t index = handle & kIndexMask;
    if (index >= objects_.size()) return nullptr;
    Object* object = objects_[index].get();
    if (object == nullptr || object->handle != handle || object->kind != T::kKind) return nullptr;
    return static_cast<T*>(object);
  }

  napi_env env() const { return env_; }
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
  int watchers_ = 0;
  bool ending_ = false;
};

}  // namespace onepiece::addon
