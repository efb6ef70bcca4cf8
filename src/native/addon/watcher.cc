// Invariant: see watcher.h.
#include "watcher.h"

#include <stdlib.h>

namespace onepiece::addon {

Watcher* Watcher::Start(Environment& environment, Watched& watched, napi_value callback) {
  napi_env env = environment.env();
  uv_loop_s* loop = nullptr;
  if (napi_get_uv_event_loop(env, &loop) != napi_ok) return nullptr;
  auto* watcher = new Watcher(environment, watched);
  watcher->poll_ = static_cast<uv_poll_s*>(malloc(uv_handle_size(kUvPollType)));
  if (watcher->poll_ == nullptr || uv_poll_init(loop, watcher->poll_, watched.Fd()) != 0) {
    free(watcher->poll_);
    delete watcher;
    return nullptr;
  }
  uv_handle_set_data(watcher->handle(), watcher);
  environment.WatcherOpened();
  napi_create_reference(env, callback, 1, &watcher->callback_);
  napi_value name = nullptr;
  napi_create_string_utf8(env, "onepiece:watcher", NAPI_AUTO_LENGTH, &name);
  napi_async_init(env, nullptr, name, &watcher->async_);
  uv_unref(watcher->handle());
  uv_poll_start(watcher->poll_, kUvReadable, OnReadable);
  return watcher;
}

void Watcher::KeepAlive(bool keep) { keep ? uv_ref(handle()) : uv_unref(handle()); }

void Watcher::OnReadable(uv_poll_s* handle, int, int) {
  auto* watcher = static_cast<Watcher*>(uv_handle_get_data(reinterpret_cast<uv_handle_s*>(handle)));
  if (watcher->watched_ == nullptr) return;
  if (watcher->watched_->Drain() <= 0) return;
  napi_env env = watcher->environment_.env();
  napi_handle_scope scope = nullptr;
  if (napi_open_handle_scope(env, &scope) != napi_ok) return;
  napi_value callback = nullptr;
  napi_value receiver = nullptr;
  napi_get_reference_value(env, watcher->callback_, &callback);
  napi_get_global(env, &receiver);
  napi_status status = napi_make_callback(env, watcher->async_, receiver, callback, 0, nullptr, nullptr);
  if (status == napi_pending_exception) {
    napi_value error = nullptr;
    napi_get_and_clear_last_exception(env, &error);
    napi_fatal_exception(env, error);
  }
  napi_close_handle_scope(env, scope);
}

void Watcher::Close() {
  if (watched_ == nullptr) return;
  watched_ = nullptr;
  napi_delete_reference(environment_.env(), callback_);
  napi_async_destroy(environment_.env(), async_);
  uv_close(handle(), OnClosed);
}

void Watcher::OnClosed(uv_handle_s* handle) {
  auto* watcher = static_cast<Watcher*>(uv_handle_get_data(handle));
  Environment& environment = watcher->environment_;
  free(watcher->poll_);
  delete watcher;
  environment.WatcherClosed();
}

int Watch::Start(Environment& environment, Watched& watched, Napi::Value callback) {
  if (watcher_ != nullptr || !callback.IsFunction()) return -EINVAL;
  int fd = watched.Fd();
  if (fd < 0) return fd;
  watcher_ = Watcher::Start(environment, watched, callback);
  return watcher_ == nullptr ? -EIO : 0;
}

bool Watch::KeepAlive(bool keep) {
  if (watcher_ == nullptr) return false;
  watcher_->KeepAlive(keep);
  return true;
}

void Watch::Stop() {
  if (watcher_ != nullptr) watcher_->Close();
  watcher_ = nullptr;
}

}  // namespace onepiece::addon
