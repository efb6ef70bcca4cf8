// Invariant: see window_table.h.
#include "window_table.h"

#include "context.h"

namespace onepiece::soft {

namespace {

constexpr uint32_t kWindowAccess = kRemoteWrite | kRemoteRead | kRemoteAtomic;
constexpr uint32_t kVariant = 0xff;  // of a key: what the program chooses

bool IsValid(Context& context, uint32_t number) { return context.directory().mr(number).key.load() != 0; }

void Clear(Context& context, uint32_t number) {
  context.localMr(number).key.store(0);
  context.directory().mr(number).key.store(0);
}

}  // namespace

void WindowTable::Add(uint32_t number, uint32_t key, uint32_t pd) {
  std::lock_guard<std::mutex> lock(mutex_);
  windows_[number] = {pd, key, 0, 0, false};
}

bool WindowTable::Bind(Context& context, const BindRequest& request) {
  std::lock_guard<std::mutex> lock(mutex_);
  auto found = windows_.find(request.window);
  if (found == windows_.end()) return false;
  Window& window = found->second;
  if (window.pd != request.pd || window.draining || IsValid(context, request.window)) return false;
  if (window.key != request.presentKey || (request.newKey & ~kVariant) != (window.key & ~kVariant)) return false;
  if (request.length == 0 || (request.access & ~kWindowAccess) != 0) return false;
  const MrSlot& region = context.localMr(MrIndex(request.lkey));
  if (request.lkey == 0 || region.key.load() != request.lkey || region.pd != request.pd || region.boundQp != 0) return false;
  if ((region.access & kMwBindAllowed) == 0) return false;
  if ((request.access & (kRemoteWrite | kRemoteAtomic)) != 0 && (region.access & kLocalWrite) == 0) return false;
  if ((request.access & kRemoteAtomic) != 0 && region.fd == kProcessMemory) return false;
  if (request.address < region.address || request.length > region.length ||
      request.address - region.address > region.length - request.length) {
    return false;
  }
  MrSlot shown{};
  shown.pd = request.pd;
  shown.access = request.access;
  shown.fd = region.fd;
  shown.address = request.address;
  shown.length = request.length;
  shown.serial = region.serial;
  shown.inode = region.inode;
  shown.offset = request.address - region.address;
  shown.boundQp = request.qpNumber;
  window.key = request.newKey;
  window.lkey = request.lkey;
  window.qpNumber = request.qpNumber;
  context.PublishMr(request.newKey, shown);
  return true;
}

bool WindowTable::Invalidate(Context& context, uint32_t key, uint32_t pd) {
  std::lock_guard<std::mutex> lock(mutex_);
  auto found = windows_.find(MrIndex(key));
  if (found == windows_.end() || found->second.key != key || found->second.pd != pd) return false;
  found->second.draining = true;
  Clear(context, found->first);
  return true;
}

void WindowTable::Drained(uint32_t key) {
  std::lock_guard<std::mutex> lock(mutex_);
  auto found = windows_.find(MrIndex(key));
  if (found != windows_.end() && found->second.key == key) found->second.draining = false;
}

void WindowTable::Unbind(Context& context, uint32_t qpNumber, bool isOutside) {
  std::lock_guard<std::mutex> lock(mutex_);
  for (auto& [number, window] : windows_) {
    if (window.qpNumber != qpNumber) continue;
    window.draining = !isOutside;
    Clear(context, number);
  }
}

bool WindowTable::ClearRegion(Context& context, uint32_t lkey, std::vector<uint32_t>* draining) {
  std::lock_guard<std::mutex> lock(mutex_);
  for (const auto& [number, window] : windows_) {
    if (window.lkey != lkey) continue;
    if (IsValid(context, number)) return false;
    if (window.draining) draining->push_back(window.key);
  }
  Clear(context, MrIndex(lkey));
  return true;
}

void WindowTable::Abandon(Context& context, uint32_t lkey) {
  std::lock_guard<std::mutex> lock(mutex_);
  for (auto& [number, window] : windows_) {
    if (window.lkey != lkey || !IsValid(context, number)) continue;
    window.draining = true;
    Clear(context, number);
  }
}

uint32_t WindowTable::Retire(Context& context, uint32_t number) {
  std::lock_guard<std::mutex> lock(mutex_);
  auto found = windows_.find(number);
  if (found == windows_.end()) return 0;
  if (IsValid(context, number)) found->second.draining = true;
  Clear(context, number);
  return found->second.key;
}

}  // namespace onepiece::soft
