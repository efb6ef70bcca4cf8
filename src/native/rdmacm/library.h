// librdmacm, found at run time.
//
// Invariant: nothing here or above is linked against librdmacm or libibverbs. There is a table only when every entry
// was found. It is loaded once and never unloaded: the library keeps devices of its own open.
#pragma once

#if __has_include(<rdma/rdma_cma.h>)
#define ONEPIECE_HAS_RDMACM_HEADER 1

#include <rdma/rdma_cma.h>

#include <string>

#include "../shared_library.h"

namespace onepiece::rdmacm {

struct Library {
  decltype(&::rdma_create_event_channel) create_event_channel;
  decltype(&::rdma_destroy_event_channel) destroy_event_channel;
  decltype(&::rdma_create_id) create_id;
  decltype(&::rdma_destroy_id) destroy_id;
  decltype(&::rdma_bind_addr) bind_addr;
  decltype(&::rdma_listen) listen;
  decltype(&::rdma_resolve_addr) resolve_addr;
  decltype(&::rdma_resolve_route) resolve_route;
  decltype(&::rdma_connect) connect;
  decltype(&::rdma_accept) accept;
  decltype(&::rdma_establish) establish;
  decltype(&::rdma_reject) reject;
  decltype(&::rdma_disconnect) disconnect;
  decltype(&::rdma_notify) notify;
  decltype(&::rdma_set_option) set_option;
  decltype(&::rdma_init_qp_attr) init_qp_attr;
  decltype(&::rdma_get_cm_event) get_cm_event;
  decltype(&::rdma_ack_cm_event) ack_cm_event;
};

// The table, or nullptr and in `why` what to install.
const Library* LoadLibrary(std::string* why);

// Functions of librdmacm answer 0, or -1 with errno set.
template <typename Function, typename... Arguments>
int Ask(Function function, Arguments... arguments) {
  errno = 0;
  return function(arguments...) == 0 ? 0 : LastError();
}

}  // namespace onepiece::rdmacm

#endif
