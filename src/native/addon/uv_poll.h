// The few functions of libuv that watching a descriptor needs, declared without its headers.
//
// Invariant: only opaque pointers cross; the size of a handle is asked at run time, so one binary fits every
// libuv 1.x that Node.js carries. A build needs no uv.h.
#pragma once

#include <cstddef>

extern "C" {
struct uv_loop_s;
struct uv_poll_s;
struct uv_handle_s;
typedef void (*onepiece_uv_poll_cb)(uv_poll_s* handle, int status, int events);
typedef void (*onepiece_uv_close_cb)(uv_handle_s* handle);

size_t uv_handle_size(int type);
int uv_poll_init(uv_loop_s* loop, uv_poll_s* handle, int fd);
int uv_poll_start(uv_poll_s* handle, int events, onepiece_uv_poll_cb callback);
void uv_close(uv_handle_s* handle, onepiece_uv_close_cb callback);
void uv_ref(uv_handle_s* handle);
void uv_unref(uv_handle_s* handle);
void* uv_handle_get_data(const uv_handle_s* handle);
void uv_handle_set_data(uv_handle_s* handle, void* data);
}

constexpr int kUvPollType = 8;  // UV_POLL in uv_handle_type of every libuv 1.x
constexpr int kUvReadable = 1;
