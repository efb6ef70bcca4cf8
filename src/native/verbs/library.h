// libibverbs, found at run time.
//
// Invariant: nothing here or above is linked against libibverbs. Each entry of the table is a symbol that dlsym
// found; there is a table only when every entry that is not marked as newer was found. It is loaded once and never
// unloaded, because provider drivers keep state of their own in the process.
//
// ibv_fork_init is not called, on purpose: it is process-wide, must come before anybody's first registration, and
// slows every registration down. Instead the memory that we register is our own mapping and marked MADV_DONTFORK;
// pages of the drivers themselves are copied at fork by kernels since 5.12. On an older kernel a program that forks
// sets RDMAV_FORK_SAFE=1, which libibverbs reads itself.
#pragma once

#if __has_include(<infiniband/verbs.h>)
#define ONEPIECE_HAS_VERBS_HEADER 1

#include <infiniband/verbs.h>

#include <string>

#include "../shared_library.h"

namespace onepiece::verbs {

struct Library {
  decltype(&::ibv_get_device_list) get_device_list;
  decltype(&::ibv_free_device_list) free_device_list;
  decltype(&::ibv_get_device_name) get_device_name;
  decltype(&::ibv_get_device_guid) get_device_guid;
  decltype(&::ibv_open_device) open_device;
  decltype(&::ibv_close_device) close_device;
  decltype(&::ibv_query_device) query_device;
  decltype(&::ibv_query_port) query_port;  // fills only the old, shorter struct: see Device::QueryPort
  decltype(&::ibv_query_gid) query_gid;
  decltype(&::ibv_query_pkey) query_pkey;
  decltype(&::ibv_get_async_event) get_async_event;
  decltype(&::ibv_ack_async_event) ack_async_event;
  decltype(&::ibv_alloc_pd) alloc_pd;
  decltype(&::ibv_dealloc_pd) dealloc_pd;
  decltype(&::ibv_reg_mr) reg_mr;
  decltype(&::ibv_rereg_mr) rereg_mr;
  decltype(&::ibv_dereg_mr) dereg_mr;
  decltype(&::ibv_create_ah) create_ah;
  decltype(&::ibv_destroy_ah) destroy_ah;
  decltype(&::ibv_create_srq) create_srq;
  decltype(&::ibv_modify_srq) modify_srq;
  decltype(&::ibv_query_srq) query_srq;
  decltype(&::ibv_destroy_srq) destroy_srq;
  decltype(&::ibv_create_comp_channel) create_comp_channel;
  decltype(&::ibv_destroy_comp_channel) destroy_comp_channel;
  decltype(&::ibv_create_cq) create_cq;
  decltype(&::ibv_resize_cq) resize_cq;
  decltype(&::ibv_destroy_cq) destroy_cq;
  decltype(&::ibv_get_cq_event) get_cq_event;
  decltype(&::ibv_ack_cq_events) ack_cq_events;
  decltype(&::ibv_create_qp) create_qp;
  decltype(&::ibv_modify_qp) modify_qp;
  decltype(&::ibv_query_qp) query_qp;
  decltype(&::ibv_destroy_qp) destroy_qp;
  // Newer than the rest; nullptr where the library has not got them.
  ibv_mr* (*reg_mr_iova2)(ibv_pd* pd, void* address, size_t length, uint64_t iova, unsigned int access);
  ibv_mr* (*reg_dmabuf_mr)(ibv_pd* pd, uint64_t offset, size_t length, uint64_t iova, int fd, int access);
};

// The table, or nullptr and in `why` what to install.
const Library* LoadLibrary(std::string* why);

// Drivers answer a failure as a positive errno, a negative errno, or -1 with errno set. Here: 0 or a negative errno.
inline int Answer(int result) {
  if (result == 0) return 0;
  if (result > 0) return -result;
  if (result < -1) return result;
  return errno != 0 ? -errno : -EIO;
}

template <typename Function, typename... Arguments>
int Ask(Function function, Arguments... arguments) {
  errno = 0;
  return Answer(function(arguments...));
}

}  // namespace onepiece::verbs

#endif
