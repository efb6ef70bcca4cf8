// The Node-API module: life cycle of the objects and questions about devices. The hot path is in hot.cc.
//
// Invariant: a function here answers a handle or 0, or a negative errno, whatever its arguments are. All checking for
// people is done in TypeScript.
#include <errno.h>
#include <napi.h>
#include <signal.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <algorithm>

#include "../device.h"
#include "environment.h"
#include "hot.h"
#include "watcher.h"

namespace onepiece::addon {

namespace {

constexpr uint32_t kMaxPostBatch = 256;
constexpr uint32_t kMaxPollBatch = 256;
constexpr size_t kAttributeWords = 23;

Napi::Value Errno(Napi::Env env, int rc) { return Napi::Number::New(env, rc); }

Napi::Value AddObject(Napi::Env env, std::unique_ptr<Object> object) {
  uint32_t handle = Environment::Of(env).Add(std::move(object));
  return handle == 0 ? Errno(env, -EMFILE) : Napi::Number::New(env, handle);
}

// Arguments are never converted: a conversion can run JavaScript, which could close what is in use here. What is not
// a number counts as 0, which is no handle and no size.
double Number(const Napi::CallbackInfo& info, size_t at) {
  return info[at].IsNumber() ? info[at].As<Napi::Number>().DoubleValue() : 0;
}

uint32_t Word(const Napi::CallbackInfo& info, size_t at) {
  return info[at].IsNumber() ? info[at].As<Napi::Number>().Uint32Value() : 0;
}

// The same for an object that comes with more than its handle: `result` with it, or a negative errno.
Napi::Value AddObject(Napi::Env env, std::unique_ptr<Object> object, Napi::Object result) {
  uint32_t handle = Environment::Of(env).Add(std::move(object));
  if (handle == 0) return Errno(env, -EMFILE);
  result.Set("handle", handle);
  return result;
}

template <typename T>
T* Get(const Napi::CallbackInfo& info, size_t at) {
  return Environment::Of(info.Env()).Get<T>(Word(info, at));
}

std::string Hex(const uint8_t* bytes, size_t count) {
  static const char digits[] = "0123456789abcdef";
  std::string text;
  for (size_t i = 0; i < count; i++) {
    text += digits[bytes[i] >> 4];
    text += digits[bytes[i] & 15];
  }
  return text;
}

// listDevices(): {devices: [{name, kind, transport, nodeGuid}], missing: {verbs: string}}
Napi::Value ListDevices(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  auto result = Napi::Object::New(env);
  auto devices = Napi::Array::New(env);
  auto missing = Napi::Object::New(env);
  uint32_t count = 0;
  for (DeviceProvider* provider : {&VerbsProvider(), &SoftProvider()}) {
    std::vector<DeviceListing> listings;
    std::string why;
    int rc = provider->List(&listings, &why);
    if (rc != 0 || !why.empty()) missing.Set(provider->Kind(), why);
    for (const DeviceListing& listing : listings) {
      auto entry = Napi::Object::New(env);
      entry.Set("name", listing.name);
      entry.Set("kind", listing.kind);
      entry.Set("transport", listing.transport);
      entry.Set("nodeGuid", listing.nodeGuid);
      devices.Set(count++, entry);
    }
  }
  result.Set("devices", devices);
  result.Set("missing", missing);
  return result;
}

// openDevice(name): handle, or {errno, why}
Napi::Value OpenDevice(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  std::string name = info[0].IsString() ? info[0].As<Napi::String>().Utf8Value() : std::string();
  auto object = std::make_unique<DeviceObject>();
  std::string why;
  DeviceProvider& provider = name == "soft0" ? SoftProvider() : VerbsProvider();
  int rc = provider.Open(name, &object->device, &why);
  if (rc == 0) return AddObject(env, std::move(object));
  auto failure = Napi::Object::New(env);
  failure.Set("errno", rc);
  failure.Set("why", why);
  return failure;
}

Napi::Value QueryDevice(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  auto* object = Get<DeviceObject>(info, 0);
  if (object == nullptr) return Errno(env, -EBADF);
  DeviceAttributes a;
  int rc = object->device->Query(&a);
  if (rc != 0) return Errno(env, rc);
  auto result = Napi::Object::New(env);
  result.Set("firmware", a.firmware);
  result.Set("maxMrBytes", static_cast<double>(a.maxMrBytes));
  result.Set("vendorId", a.vendorId);
  result.Set("maxQp", a.maxQp);
  result.Set("maxQpWr", a.maxQpWr);
  result.Set("maxSge", a.maxSge);
  result.Set("maxCq", a.maxCq);
  result.Set("maxCqe", a.maxCqe);
  result.Set("maxMr", a.maxMr);
  result.Set("maxPd", a.maxPd);
  result.Set("maxQpReadAtomic", a.maxQpReadAtomic);
  result.Set("maxSrq", a.maxSrq);
  result.Set("portCount", a.portCount);
  result.Set("atomicCapability", a.atomicCapability);
  return result;
}

Napi::Value QueryPort(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  auto* object = Get<DeviceObject>(info, 0);
  if (object == nullptr) return Errno(env, -EBADF);
  PortAttributes a;
  int rc = object->device->QueryPort(Word(info, 1), &a);
  if (rc != 0) return Errno(env, rc);
  auto result = Napi::Object::New(env);
  result.Set("state", a.state);
  result.Set("maxMtu", a.maxMtu);
  result.Set("activeMtu", a.activeMtu);
  result.Set("gidTableLength", a.gidTableLength);
  result.Set("lid", a.lid);
  result.Set("smLid", a.smLid);
  result.Set("linkLayer", a.linkLayer);
  result.Set("maxMessageBytes", a.maxMessageBytes);
  return result;
}

// queryGid(device, port, index): {gid: 32 hex digits, type, netdev}
Napi::Value QueryGid(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  auto* object = Get<DeviceObject>(info, 0);
  if (object == nullptr) return Errno(env, -EBADF);
  Gid gid{};
  std::string type;
  std::string netdev;
  int rc = object->device->QueryGid(Word(info, 1), Word(info, 2), &gid, &type, &netdev);
  if (rc != 0) return Errno(env, rc);
  auto result = Napi::Object::New(env);
  result.Set("gid", Hex(gid.raw, sizeof gid.raw));
  result.Set("type", type);
  result.Set("netdev", netdev);
  return result;
}

Napi::Value AllocatePd(const Napi::CallbackInfo& info) {
  auto* parent = Get<DeviceObject>(info, 0);
  if (parent == nullptr) return Errno(info.Env(), -EBADF);
  auto object = std::make_unique<PdObject>();
  int rc = parent->device->AllocateProtectionDomain(&object->pd);
  return rc == 0 ? AddObject(info.Env(), std::move(object)) : Errno(info.Env(), rc);
}

// registerMemory(pd, bytes, access): -errno, or {handle, buffer, address, lkey, rkey}
Napi::Value RegisterMemory(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  auto* parent = Get<PdObject>(info, 0);
  if (parent == nullptr) return Errno(env, -EBADF);
  auto object = std::make_unique<MrObject>();
  uint64_t bytes = 0;
  if (!ToAddress(Number(info, 1), &bytes)) return Errno(env, -EINVAL);
  int rc = parent->pd->RegisterMemory(bytes, Word(info, 2), &object->mr);
  if (rc != 0) return Errno(env, rc);
  MemoryRegion& mr = *object->mr;
  Napi::Value buffer = object->buffer.Show(env, mr.Address(), mr.Length());
  if (buffer.IsEmpty()) return buffer;
  auto result = Napi::Object::New(env);
  result.Set("buffer", buffer);
  result.Set("address", static_cast<double>(reinterpret_cast<uintptr_t>(mr.Address())));
  result.Set("lkey", mr.LocalKey());
  result.Set("rkey", mr.RemoteKey());
  return AddObject(env, std::move(object), result);
}

Napi::Value DeregisterMemory(const Napi::CallbackInfo& info) {
  auto* object = Get<MrObject>(info, 0);
  return Errno(info.Env(), object == nullptr ? -EBADF : object->mr->Deregister());
}

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
  if (object->watcher != nullptr || !info[1].IsFunction()) return Errno(info.Env(), -EINVAL);
  object->watcher = Watcher::Start(Environment::Of(info.Env()), *object->channel, info[1]);
  return Errno(info.Env(), object->watcher == nullptr ? -EIO : 0);
}

// keepAlive(channel, keep): whether the watching keeps the process from ending
Napi::Value KeepAlive(const Napi::CallbackInfo& info) {
  auto* object = Get<ChannelObject>(info, 0);
  if (object == nullptr || object->watcher == nullptr) return Errno(info.Env(), -EBADF);
  object->watcher->KeepAlive(info[1].ToBoolean());
  return Errno(info.Env(), 0);
}

// createCq(device, capacity, channel or 0): -errno, or {handle, capacity, records}
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
  int rc = parent->device->CreateCq(Word(info, 1), channel, &object->cq);
  if (rc != 0) return Errno(env, rc);
  object->records.resize(std::min(object->cq->Capacity(), kMaxPollBatch));
  Napi::Value records =
      object->buffer.Show(env, object->records.data(), object->records.size() * sizeof(CompletionRecord));
  if (records.IsEmpty()) return records;
  auto result = Napi::Object::New(env);
  result.Set("records", records);
  result.Set("capacity", object->cq->Capacity());
  return AddObject(env, std::move(object), result);
}

// createQp(pd, sendCq, receiveCq, type, maxSendWr, maxRecvWr, maxSendSge, maxRecvSge, maxInlineData, signalAll):
// -errno, or {handle, qpNum, sendRecords, receiveRecords, and the capabilities granted}
Napi::Value CreateQp(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  auto* parent = Get<PdObject>(info, 0);
  auto* sendCq = Get<CqObject>(info, 1);
  auto* receiveCq = Get<CqObject>(info, 2);
  if (parent == nullptr || sendCq == nullptr || receiveCq == nullptr) return Errno(env, -EBADF);
  auto number = [&](size_t at) { return Word(info, at); };
  QpInit init;
  init.sendCq = sendCq->cq.get();
  init.receiveCq = receiveCq->cq.get();
  init.type = number(3);
  init.capabilities = {number(4), number(5), number(6), number(7), number(8)};
  init.signalAll = info[9].ToBoolean();
  auto object = std::make_unique<QpObject>();
  int rc = parent->pd->CreateQp(init, &object->qp);
  if (rc != 0) return Errno(env, rc);
  QpCapabilities granted = object->qp->Capabilities();
  object->sendCount = std::min(std::max(granted.maxSendWr, 1u), kMaxPostBatch);
  object->receiveCount = std::min(std::max(granted.maxRecvWr, 1u), kMaxPostBatch);
  object->sendRecords.resize(object->sendCount + 1);
  object->receiveRecords.resize(object->receiveCount + 1);
  Napi::Value send = object->sendBuffer.Show(env, object->sendRecords.data(), (object->sendCount + 1) * kRecordBytes);
  if (send.IsEmpty()) return send;
  Napi::Value receive =
      object->receiveBuffer.Show(env, object->receiveRecords.data(), (object->receiveCount + 1) * kRecordBytes);
  if (receive.IsEmpty()) return receive;
  auto result = Napi::Object::New(env);
  result.Set("qpNum", object->qp->Number());
  result.Set("sendRecords", send);
  result.Set("receiveRecords", receive);
  result.Set("maxSendWr", granted.maxSendWr);
  result.Set("maxRecvWr", granted.maxRecvWr);
  result.Set("maxSendSge", granted.maxSendSge);
  result.Set("maxRecvSge", granted.maxRecvSge);
  result.Set("maxInlineData", granted.maxInlineData);
  return AddObject(env, std::move(object), result);
}

// The order of the words is that of AttributeWord in src/ts/verbs/native.ts.
void Visit(QpAttributes& a, uint32_t* words, bool read) {
  auto field = [&, i = size_t{0}](auto& value) mutable {
    using T = std::remove_reference_t<decltype(value)>;
    if (read) {
      value = static_cast<T>(words[i]);
    } else {
      words[i] = static_cast<uint32_t>(value);
    }
    i++;
  };
  field(a.mask);
  field(a.state);
  field(a.currentState);
  field(a.accessFlags);
  field(a.pkeyIndex);
  field(a.port);
  field(a.qkey);
  field(a.pathMtu);
  field(a.timeout);
  field(a.retryCount);
  field(a.rnrRetry);
  field(a.rqPsn);
  field(a.sqPsn);
  field(a.maxReadAtomic);
  field(a.maxDestReadAtomic);
  field(a.minRnrTimer);
  field(a.destQpNum);
  field(a.destLid);
  field(a.isGlobal);
  field(a.gidIndex);
  field(a.hopLimit);
  field(a.serviceLevel);
  field(a.trafficClass);
}

// modifyQp / queryQp(qp, Uint32Array(23), Uint8Array(16))
Napi::Value AccessQp(const Napi::CallbackInfo& info, bool modify) {
  auto* object = Get<QpObject>(info, 0);
  if (object == nullptr) return Errno(info.Env(), -EBADF);
  auto is = [&](size_t at, napi_typedarray_type type) {
    return info[at].IsTypedArray() && info[at].As<Napi::TypedArray>().TypedArrayType() == type;
  };
  if (!is(1, napi_uint32_array) || !is(2, napi_uint8_array)) return Errno(info.Env(), -EINVAL);
  auto words = info[1].As<Napi::Uint32Array>();
  auto gid = info[2].As<Napi::Uint8Array>();
  if (words.ByteLength() != kAttributeWords * 4 || gid.ByteLength() != 16) return Errno(info.Env(), -EINVAL);
  QpAttributes attributes;
  if (modify) {
    Visit(attributes, words.Data(), true);
    std::copy(gid.Data(), gid.Data() + 16, attributes.destGid.raw);
    return Errno(info.Env(), object->qp->Modify(attributes));
  }
  int rc = object->qp->Query(&attributes);
  if (rc == 0) {
    Visit(attributes, words.Data(), false);
    std::copy(attributes.destGid.raw, attributes.destGid.raw + 16, gid.Data());
  }
  return Errno(info.Env(), rc);
}

Napi::Value ModifyQp(const Napi::CallbackInfo& info) { return AccessQp(info, true); }
Napi::Value QueryQp(const Napi::CallbackInfo& info) { return AccessQp(info, false); }

Napi::Value Close(const Napi::CallbackInfo& info) {
  return Errno(info.Env(), Environment::Of(info.Env()).Close(Word(info, 0)));
}

// dieWithParent(parentPid): the kernel ends this process when its parent ends; at once if it has ended already.
Napi::Value DieWithParent(const Napi::CallbackInfo& info) {
  if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0) return Errno(info.Env(), -errno);
  if (getppid() != static_cast<pid_t>(Word(info, 0))) raise(SIGKILL);
  return Errno(info.Env(), 0);
}

Napi::Object Init(Napi::Env env, Napi::Object exports) {
  Environment::Install(env);
  InstallHotPath(env, exports);
  auto add = [&](const char* name, Napi::Value (*callback)(const Napi::CallbackInfo&)) {
    exports.Set(name, Napi::Function::New(env, callback, name));
  };
  add("listDevices", ListDevices);
  add("openDevice", OpenDevice);
  add("queryDevice", QueryDevice);
  add("queryPort", QueryPort);
  add("queryGid", QueryGid);
  add("allocatePd", AllocatePd);
  add("registerMemory", RegisterMemory);
  add("deregisterMemory", DeregisterMemory);
  add("createChannel", CreateChannel);
  add("watchChannel", WatchChannel);
  add("keepAlive", KeepAlive);
  add("createCq", CreateCq);
  add("createQp", CreateQp);
  add("modifyQp", ModifyQp);
  add("queryQp", QueryQp);
  add("close", Close);
  add("dieWithParent", DieWithParent);
  return exports;
}

}  // namespace

NODE_API_MODULE(onepiece, Init)

}  // namespace onepiece::addon
