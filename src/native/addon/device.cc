// Devices: listing, opening, asking, asynchronous events. Invariant: see module.cc.
#include <errno.h>

#include <algorithm>

#include "arguments.h"
#include "watcher.h"

namespace onepiece::addon {

namespace {

// Integers up to here are exact in JavaScript (Number.MAX_SAFE_INTEGER).
constexpr uint64_t kMaxExact = (uint64_t{1} << 53) - 1;

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
  result.Set("provider", a.provider);
  result.Set("nodeGuid", Napi::BigInt::New(env, a.nodeGuid));
  result.Set("systemImageGuid", Napi::BigInt::New(env, a.systemImageGuid));
  result.Set("maxMrBytes", static_cast<double>(std::min(a.maxMrBytes, kMaxExact)));
  result.Set("pageSizes", Napi::BigInt::New(env, a.pageSizes));
  result.Set("capabilities", Napi::BigInt::New(env, a.capabilities));
  result.Set("odpCapabilities", static_cast<double>(a.odpCapabilities));
  result.Set("odpRc", a.odpRc);
  result.Set("odpUc", a.odpUc);
  result.Set("odpUd", a.odpUd);
  result.Set("timestampMask", Napi::BigInt::New(env, a.timestampMask));
  result.Set("coreClockKhz", static_cast<double>(a.coreClockKhz));
  result.Set("vendorId", a.vendorId);
  result.Set("vendorPartId", a.vendorPartId);
  result.Set("hardwareVersion", a.hardwareVersion);
  result.Set("maxQp", a.maxQp);
  result.Set("maxQpWr", a.maxQpWr);
  result.Set("maxSge", a.maxSge);
  result.Set("maxSgeRead", a.maxSgeRead);
  result.Set("maxCq", a.maxCq);
  result.Set("maxCqe", a.maxCqe);
  result.Set("maxMr", a.maxMr);
  result.Set("maxMw", a.maxMw);
  result.Set("maxPd", a.maxPd);
  result.Set("maxAh", a.maxAh);
  result.Set("maxQpReadAtomic", a.maxQpReadAtomic);
  result.Set("maxQpInitiatorReadAtomic", a.maxQpInitiatorReadAtomic);
  result.Set("maxSrq", a.maxSrq);
  result.Set("maxSrqWr", a.maxSrqWr);
  result.Set("maxSrqSge", a.maxSrqSge);
  result.Set("maxPkeys", a.maxPkeys);
  result.Set("localAckDelay", a.localAckDelay);
  result.Set("portCount", a.portCount);
  result.Set("atomicCapability", a.atomicCapability);
  result.Set("numaNode", a.numaNode);
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
  result.Set("physicalState", a.physicalState);
  result.Set("maxMtu", a.maxMtu);
  result.Set("activeMtu", a.activeMtu);
  result.Set("gidTableLength", a.gidTableLength);
  result.Set("pkeyTableLength", a.pkeyTableLength);
  result.Set("lid", a.lid);
  result.Set("lidMaskControl", a.lidMaskControl);
  result.Set("smLid", a.smLid);
  result.Set("smServiceLevel", a.smServiceLevel);
  result.Set("linkLayer", a.linkLayer);
  result.Set("maxMessageBytes", a.maxMessageBytes);
  result.Set("capabilities", a.capabilities);
  result.Set("activeWidth", a.activeWidth);
  result.Set("activeSpeed", a.activeSpeed);
  result.Set("badPkeys", a.badPkeys);
  result.Set("qkeyViolations", a.qkeyViolations);
  result.Set("flags", a.flags);
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

// queryPkey(device, port, index): the key (0 to 65535), or a negative errno
Napi::Value QueryPkey(const Napi::CallbackInfo& info) {
  auto* object = Get<DeviceObject>(info, 0);
  if (object == nullptr) return Errno(info.Env(), -EBADF);
  uint16_t pkey = 0;
  int rc = object->device->QueryPkey(Word(info, 1), Word(info, 2), &pkey);
  return Errno(info.Env(), rc != 0 ? rc : pkey);
}

// proveGid(device, port, index): 0 when the entry can be used to reach itself
Napi::Value ProveGid(const Napi::CallbackInfo& info) {
  auto* object = Get<DeviceObject>(info, 0);
  return Errno(info.Env(), object == nullptr ? -EBADF : object->device->ProveGid(Word(info, 1), Word(info, 2)));
}

// watchDevice(device, callback): calls back while asynchronous events wait; each call must take all of them
Napi::Value WatchDevice(const Napi::CallbackInfo& info) {
  auto* object = Get<DeviceObject>(info, 0);
  if (object == nullptr) return Errno(info.Env(), -EBADF);
  return Errno(info.Env(), object->watch.Start(Environment::Of(info.Env()), *object, info[1]));
}

// nextEvent(device): {type, element}, undefined when none waits, or a negative errno
Napi::Value NextEvent(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  auto* object = Get<DeviceObject>(info, 0);
  if (object == nullptr) return Errno(env, -EBADF);
  AsyncEvent event;
  int rc = object->device->NextEvent(&event);
  if (rc == 0) return env.Undefined();
  if (rc < 0) return Errno(env, rc);
  auto result = Napi::Object::New(env);
  result.Set("type", event.type);
  result.Set("element", event.element);
  return result;
}

Napi::Value AllocatePd(const Napi::CallbackInfo& info) {
  auto* parent = Get<DeviceObject>(info, 0);
  if (parent == nullptr) return Errno(info.Env(), -EBADF);
  auto object = std::make_unique<PdObject>();
  object->device = parent;
  int rc = parent->device->AllocateProtectionDomain(&object->pd);
  return rc == 0 ? AddObject(info.Env(), std::move(object)) : Errno(info.Env(), rc);
}

// keepAlive(device or channel, keep): whether the watching keeps the process from ending
Napi::Value KeepAlive(const Napi::CallbackInfo& info) {
  Object* object = Environment::Of(info.Env()).Any(Word(info, 0));
  Watch* watch = object == nullptr ? nullptr : object->Watching();
  return Errno(info.Env(), watch == nullptr || !watch->KeepAlive(info[1].ToBoolean()) ? -EBADF : 0);
}

}  // namespace

void InstallDevices(Napi::Env env, Napi::Object exports) {
  Export(env, exports, "listDevices", ListDevices);
  Export(env, exports, "openDevice", OpenDevice);
  Export(env, exports, "queryDevice", QueryDevice);
  Export(env, exports, "queryPort", QueryPort);
  Export(env, exports, "queryGid", QueryGid);
  Export(env, exports, "queryPkey", QueryPkey);
  Export(env, exports, "proveGid", ProveGid);
  Export(env, exports, "watchDevice", WatchDevice);
  Export(env, exports, "nextEvent", NextEvent);
  Export(env, exports, "allocatePd", AllocatePd);
  Export(env, exports, "keepAlive", KeepAlive);
}

}  // namespace onepiece::addon
