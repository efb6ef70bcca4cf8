// Memory regions, memory windows and address handles: what belongs to a protection domain beside its queues.
// Invariant: see module.cc.
#include <errno.h>

#include "arguments.h"

namespace onepiece::addon {

namespace {

Napi::Object Keys(Napi::Env env, const MemoryRegion& mr) {
  auto result = Napi::Object::New(env);
  result.Set("address", static_cast<double>(reinterpret_cast<uintptr_t>(mr.Address())));
  result.Set("byteLength", static_cast<double>(mr.Length()));
  result.Set("lkey", mr.LocalKey());
  result.Set("rkey", mr.RemoteKey());
  return result;
}

// registerMemory(pd, bytes, access, pageBytes): -errno, or {handle, buffer, address, byteLength, lkey, rkey}
Napi::Value RegisterMemory(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  auto* parent = Get<PdObject>(info, 0);
  if (parent == nullptr) return Errno(env, -EBADF);
  auto object = std::make_unique<MrObject>();
  uint64_t bytes = 0;
  uint64_t pageBytes = 0;
  if (!ToAddress(Number(info, 1), &bytes) || !ToAddress(Number(info, 3), &pageBytes)) return Errno(env, -EINVAL);
  MemoryInit init;
  init.bytes = bytes;
  init.access = Word(info, 2);
  init.pageBytes = pageBytes;
  int rc = parent->pd->RegisterMemory(init, &object->mr);
  if (rc != 0) return Errno(env, rc);
  MemoryRegion& mr = *object->mr;
  Napi::Value buffer = object->buffer.Show(env, mr.Address(), mr.Length());
  if (buffer.IsEmpty()) return buffer;
  Napi::Object result = Keys(env, mr);
  result.Set("buffer", buffer);
  return AddObject(env, std::move(object), result);
}

// registerBuffer(pd, Uint8Array, access): the caller's own memory, kept alive as long as the region; as above, without
// a buffer
Napi::Value RegisterBuffer(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  auto* parent = Get<PdObject>(info, 0);
  if (parent == nullptr) return Errno(env, -EBADF);
  if (!info[1].IsTypedArray()) return Errno(env, -EINVAL);
  auto array = info[1].As<Napi::TypedArray>();
  if (array.TypedArrayType() != napi_uint8_array || array.ByteLength() == 0) return Errno(env, -EINVAL);
  auto object = std::make_unique<MrObject>();
  MemoryInit init;
  init.bytes = array.ByteLength();
  init.access = Word(info, 2);
  init.address = info[1].As<Napi::Uint8Array>().Data();
  int rc = parent->pd->RegisterMemory(init, &object->mr);
  if (rc != 0) return Errno(env, rc);
  object->owner = Napi::Persistent(array.ArrayBuffer().As<Napi::Object>());
  Napi::Object keys = Keys(env, *object->mr);
  return AddObject(env, std::move(object), keys);
}

// registerDmabuf(pd, fd, offset, bytes, access): as above; the address is the offset
Napi::Value RegisterDmabuf(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  auto* parent = Get<PdObject>(info, 0);
  if (parent == nullptr) return Errno(env, -EBADF);
  auto object = std::make_unique<MrObject>();
  MemoryInit init;
  uint64_t bytes = 0;
  if (!info[1].IsNumber() || !ToAddress(Number(info, 2), &init.offset) || !ToAddress(Number(info, 3), &bytes)) {
    return Errno(env, -EINVAL);
  }
  init.dmabufFd = info[1].As<Napi::Number>().Int32Value();
  init.bytes = bytes;
  init.access = Word(info, 4);
  if (init.dmabufFd < 0) return Errno(env, -EBADF);
  int rc = parent->pd->RegisterMemory(init, &object->mr);
  if (rc != 0) return Errno(env, rc);
  Napi::Object keys = Keys(env, *object->mr);
  keys.Set("address", static_cast<double>(init.offset));
  return AddObject(env, std::move(object), keys);
}

// registerMapping(pd, mapping, access): -errno, or {handle, address, byteLength, lkey, rkey}: all that the mapping
// shows
Napi::Value RegisterMapping(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  auto* parent = Get<PdObject>(info, 0);
  auto* mapping = Get<MappingObject>(info, 1);
  if (parent == nullptr || mapping == nullptr) return Errno(env, -EBADF);
  auto object = std::make_unique<MrObject>();
  MemoryInit init;
  init.mapping = mapping->mapping.get();
  init.access = Word(info, 2);
  int rc = parent->pd->RegisterMemory(init, &object->mr);
  if (rc != 0) return Errno(env, rc);
  Napi::Object keys = Keys(env, *object->mr);
  return AddObject(env, std::move(object), keys);
}

// reregisterMemory(region, access or undefined, pd or 0): -errno, or {address, byteLength, lkey, rkey}
Napi::Value ReregisterMemory(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  auto* object = Get<MrObject>(info, 0);
  if (object == nullptr) return Errno(env, -EBADF);
  PdObject* domain = nullptr;
  if (Word(info, 2) != 0) {
    domain = Get<PdObject>(info, 2);
    if (domain == nullptr) return Errno(env, -EBADF);
  }
  uint32_t access = Word(info, 1);
  int rc = object->mr->Reregister(info[1].IsNumber() ? &access : nullptr, domain == nullptr ? nullptr : domain->pd.get());
  if (rc != 0) return Errno(env, rc);
  return Keys(env, *object->mr);
}

Napi::Value DeregisterMemory(const Napi::CallbackInfo& info) {
  auto* object = Get<MrObject>(info, 0);
  return Errno(info.Env(), object == nullptr ? -EBADF : object->mr->Deregister());
}

// allocateWindow(pd): -errno, or {handle, number, rkey}
Napi::Value AllocateWindow(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  auto* parent = Get<PdObject>(info, 0);
  if (parent == nullptr) return Errno(env, -EBADF);
  auto object = std::make_unique<MwObject>();
  int rc = parent->pd->AllocateWindow(&object->mw);
  if (rc != 0) return Errno(env, rc);
  auto result = Napi::Object::New(env);
  result.Set("number", object->mw->Number());
  result.Set("rkey", object->mw->RemoteKey());
  return AddObject(env, std::move(object), result);
}

// createAh(pd, Uint32Array(9): port, destLid, isGlobal, gidIndex, hopLimit, serviceLevel, trafficClass, flowLabel,
// sourcePathBits; Uint8Array(16): destGid): -errno, or {handle, number}
Napi::Value CreateAh(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  auto* parent = Get<PdObject>(info, 0);
  if (parent == nullptr) return Errno(env, -EBADF);
  if (!IsTypedArray(info, 1, napi_uint32_array, 9 * 4) || !IsTypedArray(info, 2, napi_uint8_array, 16)) {
    return Errno(env, -EINVAL);
  }
  auto words = info[1].As<Napi::Uint32Array>();
  auto gid = info[2].As<Napi::Uint8Array>();
  AddressVector path;
  path.port = words[0];
  path.destLid = words[1];
  path.isGlobal = words[2] != 0;
  path.gidIndex = words[3];
  path.hopLimit = words[4];
  path.serviceLevel = words[5];
  path.trafficClass = words[6];
  path.flowLabel = words[7];
  path.sourcePathBits = words[8];
  std::copy(gid.Data(), gid.Data() + 16, path.destGid.raw);
  auto object = std::make_unique<AhObject>();
  int rc = parent->pd->CreateAh(path, &object->ah);
  if (rc != 0) return Errno(env, rc);
  auto result = Napi::Object::New(env);
  result.Set("number", object->ah->Number());
  return AddObject(env, std::move(object), result);
}

}  // namespace

void InstallMemory(Napi::Env env, Napi::Object exports) {
  Export(env, exports, "registerMemory", RegisterMemory);
  Export(env, exports, "registerBuffer", RegisterBuffer);
  Export(env, exports, "registerDmabuf", RegisterDmabuf);
  Export(env, exports, "registerMapping", RegisterMapping);
  Export(env, exports, "reregisterMemory", ReregisterMemory);
  Export(env, exports, "deregisterMemory", DeregisterMemory);
  Export(env, exports, "allocateWindow", AllocateWindow);
  Export(env, exports, "createAh", CreateAh);
}

}  // namespace onepiece::addon
