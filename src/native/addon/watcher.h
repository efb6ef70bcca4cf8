// Watches a descriptor in libuv and calls JavaScript when something waits behind it.
//
// Invariant: the callback runs after Watched::Drain(), so an event of a completion channel is never left in the
// descriptor without a call that follows it. A watcher does not keep the process alive unless it is asked to.
#pragma once

#include "environment.h"
#include "uv_poll.h"

namespace onepiece::addon {

class Watcher {
 public:
  // nullptr when libuv refuses the descriptor.
  static Watcher* Start(Environment& environment, Watched& watched, napi_value callback);
  void KeepAlive(bool keep);
  // Ends the watching at once; frees the watcher when libuv has let go of it.
  void Close();

 private:
  Watcher(Environment& environment, Watched& watched) : environment_(environment), watched_(&watched) {}
  static void OnReadable(uv_poll_s* handle, int status, int events);
  static void OnClosed(uv_handle_s* handle);
  uv_handle_s* handle() const { return reinterpret_cast<uv_handle_s*>(poll_); }

  Environment& environment_;
  Watched* watched_;  // nullptr after Close
  uv_poll_s* poll_ = nullptr;
  napi_ref callback_ = nullptr;
  napi_async_context async_ = nullptr;
};

}  // namespace onepiece::addon
