// An open device: its attributes, and what is made from it. Invariant: see device.h.
#include "device.h"

#ifdef ONEPIECE_HAS_VERBS_HEADER

#include <endian.h>

#include <algorithm>
#include <climits>
#include <cstring>
#include <iterator>

#include "completion_channel.h"
#include "completion_queue.h"
#include "protection_domain.h"
#include "sysfs.h"

namespace onepiece::verbs {
namespace {

uint32_t NotNegative(int value) { return value > 0 ? static_cast<uint32_t>(value) : 0; }

}  // namespace

Context::~Context() {
  if (raw != nullptr) library.close_device(raw);
}

int Device::Query(DeviceAttributes* out) {
  if (!context_) return -EBADF;
  ibv_device_attr attr;
  memset(&attr, 0, sizeof(attr));
  const int error = Ask(context_->library.query_device, context_->raw, &attr);
  if (error != 0) return error;
  out->firmware.assign(attr.fw_ver, strnlen(attr.fw_ver, sizeof(attr.fw_ver)));
  out->nodeGuid = be64toh(attr.node_guid);
  out->maxMrBytes = attr.max_mr_size;
  out->vendorId = attr.vendor_id;
  out->maxQp = NotNegative(attr.max_qp);
  out->maxQpWr = NotNegative(attr.max_qp_wr);
  out->maxSge = NotNegative(attr.max_sge);
  out->maxCq = NotNegative(attr.max_cq);
  out->maxCqe = NotNegative(attr.max_cqe);
  out->maxMr = NotNegative(attr.max_mr);
  out->maxPd = NotNegative(attr.max_pd);
  out->maxQpReadAtomic = NotNegative(attr.max_qp_rd_atom);
  out->maxSrq = NotNegative(attr.max_srq);
  out->portCount = attr.phys_port_cnt;
  out->atomicCapability = static_cast<uint32_t>(attr.atomic_cap);
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
  out->lid = attr.lid;
  out->smLid = attr.sm_lid;
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
