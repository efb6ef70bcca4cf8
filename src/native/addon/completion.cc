// Completion channels and completion queues. Invariant: see module.cc.
#include <errno.h>

#include <algorithm>

#include "arguments.h"
#include "watcher.h"

namespace onepiece::addon {

namespace {

constexpr uint32_t kMaxPollBatch = 256;

Napi::Value CreateChannel(const Napi::CallbackInfo& info) {
  auto* parent = Get<DeviceObject>(info, 0);
  if (parent == nullptr) return Errno(info.Env(), -EBADF);
  auto object = std::make_unique<ChannelObject>();
  int rc = parent->device->CreateChannel(&object->channel);
  return rc == 0 ? AddObject(info.Env(), std::move(object)) : Errno(info.Env(), rc);
}

// watchChannel(channel, callback): calls back after events were drained
Napi::Value WatchChannel(const Napi::CallbackInfo& info) {
  auto* object = Get<ChannelObject>(info, 0);
  if (object == nullptr) return Errno(info.Env(), -EBADF);
  return Errno(info.Env(), object->watch.Start(Environment::Of(info.Env()), *object->channel, info[1]));
}

// createCq(device, capacity, channel or 0): -errno, or {handle, number, capacity, records, counters}
Napi::Value CreateCq(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  auto* parent = Get<DeviceObject>(info, 0);
  if (parent == nullptr) return Errno(env, -EBADF);
  CompletionChannel* channel = nullptr;
  if (Word(info, 2) != 0) {
    auto* object = Get<ChannelObject>(info, 2);
    if (object == nullptr) return Errno(env, -EBADF);
    channel = object->channel.get();
  }
  auto object = std::make_unique<CqObject>();
  object->device = parent;
  int rc = parent->device->CreateCq(Word(info, 1), channel, &object->cq);
  if (rc != 0) return Errno(env, rc);
  object->records.resize(std::min(object->cq->Capacity(), kMaxPollBatch));
  Napi::Value records =
      object->buffer.Show(env, object->records.data(), object->records.size() * sizeof(CompletionRecord));
  if (records.IsEmpty()) return records;
  Napi::Value counters = object->counters.Show(env, &object->cq->counters, sizeof(CqCounters));
  if (counters.IsEmpty()) return counters;
  auto result = Napi::Object::New(env);
  result.Set("number", object->cq->Number());
  result.Set("records", records);
  result.Set("counters", counters);
  result.Set("capacity", object->cq->Capacity());
  return AddObject(env, std::move(object), result);
}

// resizeCq(cq, capacity): the capacity that it has now, or a negative errno
Napi::Value ResizeCq(const Napi::CallbackInfo& info) {
  auto* object = Get<CqObject>(info, 0);
  if (object == nullptr) return Errno(info.Env(), -EBADF);
  int rc = object->cq->Resize(Word(info, 1));
  return Errno(info.Env(), rc != 0 ? rc : static_cast<int>(object->cq->Capacity()));
}

}  // namespace

void InstallCompletion(Napi::Env env, Napi::Object exports) {
  Export(env, exports, "createChannel", CreateChannel);
  Export(env, exports, "watchChannel", WatchChannel);
  Export(env, exports, "createCq", CreateCq);
  Export(env, exports, "resizeCq", ResizeCq);
}

}  // namespace onepiece::addon
