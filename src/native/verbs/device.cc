// An open device: its attributes, and what is made from it. Invariant: see device.h.
#include "device.h"

#ifdef ONEPIECE_HAS_VERBS_HEADER

#include <dlfcn.h>
#include <endian.h>

#include <algorithm>
#include <climits>
#include <cstdlib>
#include <cstring>
#include <iterator>

#include "completion_channel.h"
#include "completion_queue.h"
#include "protection_domain.h"
#include "shared_receive_queue.h"
#include "sysfs.h"

namespace onepiece::verbs {
namespace {

uint32_t NotNegative(int value) { return value > 0 ? static_cast<uint32_t>(value) : 0; }

// The driver's name, from the file that its functions came from: libmlx5.so.1, librxe-rdmav34.so.
std::string DriverName(const ibv_context& context) {
  Dl_info info;
  if (dladdr(reinterpret_cast<void*>(context.ops.post_send), &info) == 0 || info.dli_fname == nullptr) return "";
  std::string name = info.dli_fname;
  name.erase(0, name.find_last_of('/') + 1);
  if (name.rfind("lib", 0) == 0) name.erase(0, 3);
  name.resize(std::min(name.find_first_of(".-"), name.size()));
  return name;
}

int NumaNode(const std::string& device) {
  const std::string text = ReadSysfs(device, "device/numa_node");
  return text.empty() ? -1 : atoi(text.c_str());
}

}  // namespace

Context::Context(const Library& l, ibv_context* r, std::string n)
    : library(l), raw(r), name(std::move(n)), isRxe(DriverName(*r) == "rxe") {}

Context::~Context() {
  if (raw != nullptr) library.close_device(raw);
}

int Device::Query(DeviceAttributes* out) {
  if (!context_) return -EBADF;
  ibv_device_attr_ex extended;
  memset(&extended, 0, sizeof(extended));
  // As the inline wrapper of verbs.h does, whose fallback would name the symbol and so link against it.
  verbs_context* verbs = verbs_get_ctx_op(context_->raw, query_device_ex);
  int error = -EOPNOTSUPP;
  if (verbs != nullptr) {
    errno = 0;
    error = Answer(verbs->query_device_ex(context_->raw, nullptr, &extended, sizeof(extended)));
  }
  if (error == -EOPNOTSUPP || error == -ENOSYS) {
    memset(&extended, 0, sizeof(extended));
    error = Ask(context_->library.query_device, context_->raw, &extended.orig_attr);
  }
  if (error != 0) return error;
  const ibv_device_attr& attr = extended.orig_attr;
  out->firmware.assign(attr.fw_ver, strnlen(attr.fw_ver, sizeof(attr.fw_ver)));
  out->provider = DriverName(*context_->raw);
  out->nodeGuid = be64toh(attr.node_guid);
  out->systemImageGuid = be64toh(attr.sys_image_guid);
  out->maxMrBytes = attr.max_mr_size;
  out->pageSizes = attr.page_size_cap;
  out->capabilities = attr.device_cap_flags | extended.device_cap_flags_ex;
  out->odpCapabilities = extended.odp_caps.general_caps;
  out->odpRc = extended.odp_caps.per_transport_caps.rc_odp_caps;
  out->odpUc = extended.odp_caps.per_transport_caps.uc_odp_caps;
  out->odpUd = extended.odp_caps.per_transport_caps.ud_odp_caps;
  out->timestampMask = extended.completion_timestamp_mask;
  out->coreClockKhz = extended.hca_core_clock;
  out->vendorId = attr.vendor_id;
  out->vendorPartId = attr.vendor_part_id;
  out->hardwareVersion = attr.hw_ver;
  out->maxQp = NotNegative(attr.max_qp);
  out->maxQpWr = NotNegative(attr.max_qp_wr);
  out->maxSge = NotNegative(attr.max_sge);
  out->maxSgeRead = NotNegative(attr.max_sge_rd);
  out->maxCq = NotNegative(attr.max_cq);
  out->maxCqe = NotNegative(attr.max_cqe);
  out->maxMr = NotNegative(attr.max_mr);
  out->maxMw = NotNegative(attr.max_mw);
  out->maxPd = NotNegative(attr.max_pd);
  out->maxAh = NotNegative(attr.max_ah);
  out->maxQpReadAtomic = NotNegative(attr.max_qp_rd_atom);
  out->maxQpInitiatorReadAtomic = NotNegative(attr.max_qp_init_rd_atom);
  out->maxSrq = NotNegative(attr.max_srq);
  out->maxSrqWr = NotNegative(attr.max_srq_wr);
  out->maxSrqSge = NotNegative(attr.max_srq_sge);
  out->maxPkeys = attr.max_pkeys;
  out->localAckDelay = attr.local_ca_ack_delay;
  out->portCount = attr.phys_port_cnt;
  out->atomicCapability = static_cast<uint32_t>(attr.atomic_cap);
  out->numaNode = NumaNode(context_->name);
  return 0;
}

int Device::QueryPort(uint32_t port, PortAttributes* out) {
  if (!context_) return -EBADF;
  if (port == 0 || port > UINT8_MAX) return -EINVAL;
  const auto number = static_cast<uint8_t>(port);
  ibv_port_attr attr;
  memset(&attr, 0, sizeof(attr));
  // As the inline wrapper of verbs.h does, whose fallback would name the symbol and so link against it.
  verbs_context* extended = verbs_get_ctx_op(context_->raw, query_port);
  const int error = extended != nullptr
                        ? Ask(extended->query_port, context_->raw, number, &attr, sizeof(attr))
                        : Ask(context_->library.query_port, context_->raw, number,
                              reinterpret_cast<struct _compat_ibv_port_attr*>(&attr));
  if (error != 0) return error;
  out->state = static_cast<uint32_t>(attr.state);
  out->maxMtu = static_cast<uint32_t>(attr.max_mtu);
  out->activeMtu = static_cast<uint32_t>(attr.active_mtu);
  out->gidTableLength = NotNegative(attr.gid_tbl_len);
  out->pkeyTableLength = attr.pkey_tbl_len;
  out->lid = attr.lid;
  out->lidMaskControl = attr.lmc;
  out->smLid = attr.sm_lid;
  out->smServiceLevel = attr.sm_sl;
  out->physicalState = attr.phys_state;
  out->capabilities = attr.port_cap_flags;
  out->activeWidth = attr.active_width;
  out->activeSpeed = attr.active_speed;
  out->badPkeys = attr.bad_pkey_cntr;
  out->qkeyViolations = attr.qkey_viol_cntr;
  out->flags = attr.flags;
  // Drivers older than RoCE leave the link layer unspecified; it is InfiniBand then.
  out->linkLayer = attr.link_layer == IBV_LINK_LAYER_ETHERNET ? 2 : 1;
  out->maxMessageBytes = attr.max_msg_sz;
  return 0;
}

int Device::QueryGid(uint32_t port, uint32_t index, Gid* out, std::string* type, std::string* netdev) {
  if (!context_) return -EBADF;
  PortAttributes attributes;
  int error = QueryPort(port, &attributes);
  if (error != 0) return error;
  if (index >= attributes.gidTableLength) return -EINVAL;
  ibv_gid gid;
  memset(&gid, 0, sizeof(gid));
  error = Ask(context_->library.query_gid, context_->raw, static_cast<uint8_t>(port), static_cast<int>(index), &gid);
  if (error != 0 && error != -ENODATA && error != -ENOENT) return error;  // an empty entry is a zero GID
  static_assert(sizeof(gid.raw) == sizeof(out->raw));
  memcpy(out->raw, gid.raw, sizeof(out->raw));
  if (std::all_of(std::begin(out->raw), std::end(out->raw), [](uint8_t byte) { return byte == 0; })) {
    type->clear();  // tables are long and mostly empty: sysfs need not be asked
    netdev->clear();
    return 0;
  }
  const std::string number = std::to_string(index);
  *type = ReadPortSysfs(context_->name, port, "gid_attrs/types/" + number);
  if (*type == "IB/RoCE v1") *type = attributes.linkLayer == 1 ? "IB" : "RoCE v1";
  *netdev = ReadPortSysfs(context_->name, port, "gid_attrs/ndevs/" + number);
  return 0;
}

int Device::QueryPkey(uint32_t port, uint32_t index, uint16_t* out) {
  if (!context_) return -EBADF;
  if (port == 0 || port > UINT8_MAX || index > INT_MAX) return -EINVAL;
  __be16 pkey = 0;
  const int error = Ask(context_->library.query_pkey, context_->raw, static_cast<uint8_t>(port),
                        static_cast<int>(index), &pkey);
  if (error == 0) *out = be16toh(pkey);
  return error;
}

int Device::ProveGid(uint32_t port, uint32_t index) {
  Gid gid{};
  std::string type;
  std::string netdev;
  int error = QueryGid(port, index, &gid, &type, &netdev);
  if (error != 0) return error;
  std::unique_ptr<onepiece::ProtectionDomain> domain;
  error = AllocateProtectionDomain(&domain);
  if (error != 0) return error;
  AddressVector path;
  path.port = port;
  path.isGlobal = true;
  path.destGid = gid;
  path.gidIndex = index;
  path.hopLimit = 1;
  std::unique_ptr<onepiece::AddressHandle> handle;
  return domain->CreateAh(path, &handle);
}

int Device::EventFd() const { return context_ ? context_->raw->async_fd : -EBADF; }

// The element of an event is one of ours: everything in this context was made here.
int Device::NextEvent(AsyncEvent* out) {
  if (!context_) return -EBADF;
  ibv_async_event event;
  memset(&event, 0, sizeof(event));
  for (int attempt = 0; context_->library.get_async_event(context_->raw, &event) != 0; ++attempt) {
    if (errno == EAGAIN || errno == EWOULDBLOCK) return 0;
    if (errno != EINTR || attempt > 1000) return LastError();
  }
  out->type = static_cast<uint32_t>(event.event_type);
  out->element = 0;
  switch (event.event_type) {
    case IBV_EVENT_CQ_ERR:
      out->element = static_cast<const CompletionQueue*>(event.element.cq->cq_context)->Number();
      break;
    case IBV_EVENT_QP_FATAL:
    case IBV_EVENT_QP_REQ_ERR:
    case IBV_EVENT_QP_ACCESS_ERR:
    case IBV_EVENT_COMM_EST:
    case IBV_EVENT_SQ_DRAINED:
    case IBV_EVENT_PATH_MIG:
    case IBV_EVENT_PATH_MIG_ERR:
    case IBV_EVENT_QP_LAST_WQE_REACHED:
      out->element = event.element.qp->qp_num;
      break;
    case IBV_EVENT_SRQ_ERR:
    case IBV_EVENT_SRQ_LIMIT_REACHED:
      out->element = static_cast<const SharedReceiveQueue*>(event.element.srq->srq_context)->Number();
      break;
    case IBV_EVENT_DEVICE_FATAL:
    case IBV_EVENT_WQ_FATAL:
      break;
    default:
      out->element = static_cast<uint32_t>(event.element.port_num);
      break;
  }
  // At once: destroying an object waits until its events are acknowledged.
  context_->library.ack_async_event(&event);
  return 1;
}

int Device::Raw(RawNumbers* out) {
  if (!context_) return -EBADF;
  *out = {reinterpret_cast<uintptr_t>(context_->raw), 0, context_->raw->cmd_fd, context_->raw->async_fd};
  return 0;
}

int Device::AllocateProtectionDomain(std::unique_ptr<onepiece::ProtectionDomain>* out) {
  if (!context_) return -EBADF;
  return ProtectionDomain::Allocate(context_, out);
}

int Device::CreateChannel(std::unique_ptr<onepiece::CompletionChannel>* out) {
  if (!context_) return -EBADF;
  return CompletionChannel::Create(context_, out);
}

int Device::CreateCq(uint32_t capacity, onepiece::CompletionChannel* channel,
                     std::unique_ptr<onepiece::CompletionQueue>* out) {
  if (!context_) return -EBADF;
  return CompletionQueue::Create(context_, capacity, channel, out);
}

int Device::Close() {
  if (!context_) return 0;
  if (context_.use_count() > 1) return -EBUSY;
  const int error = Ask(context_->library.close_device, context_->raw);
  if (error != 0) return error;
  context_->raw = nullptr;
  context_.reset();
  return 0;
}

}  // namespace onepiece::verbs

#endif
