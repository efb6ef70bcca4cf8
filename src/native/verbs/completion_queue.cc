// Completion queues. Invariant: see completion_queue.h.
#include "completion_queue.h"

#ifdef ONEPIECE_HAS_VERBS_HEADER

#include <arpa/inet.h>

#include <algorithm>
#include <bit>
#include <climits>
#include <new>

namespace onepiece::verbs {
namespace {

constexpr int kPollChunk = 32;
constexpr uint32_t kAtomicBytes = 8;

// The numbers of device.h are those of verbs.h.
static_assert(static_cast<uint32_t>(CompletionOpcode::kFetchAdd) == IBV_WC_FETCH_ADD &&
              static_cast<uint32_t>(CompletionOpcode::kReceiveWithImm) == IBV_WC_RECV_RDMA_WITH_IMM);
static_assert(uint32_t{kWithGrh} == uint32_t{IBV_WC_GRH} && uint32_t{kWithImm} == uint32_t{IBV_WC_WITH_IMM} &&
              uint32_t{kWithInvalidate} == uint32_t{IBV_WC_WITH_INV} &&
              static_cast<uint32_t>(CompletionOpcode::kBindMw) == IBV_WC_BIND_MW &&
              static_cast<uint32_t>(CompletionOpcode::kLocalInvalidate) == IBV_WC_LOCAL_INV);
static_assert(static_cast<uint32_t>(CompletionStatus::kRnrRetryExceeded) == IBV_WC_RNR_RETRY_EXC_ERR &&
              static_cast<uint32_t>(CompletionStatus::kRemoteInvalidRequest) == IBV_WC_REM_INV_REQ_ERR);

// rxe hands out the flags of the kernel, in which "with invalidate" is another bit (and it does not report checksums).
constexpr unsigned int kKernelWithInvalidate = 1u << 2;

void Translate(const ibv_wc& wc, const Completions& queue, CompletionRecord* out) {
  *out = CompletionRecord{};
  out->wrId = std::bit_cast<double>(wc.wr_id);
  out->status = static_cast<uint32_t>(wc.status);
  out->qpNum = wc.qp_num;
  out->vendorError = wc.vendor_err;
  if (wc.status != IBV_WC_SUCCESS) return;
  out->vendorError = 0;
  out->opcode = static_cast<uint32_t>(wc.opcode);
  switch (wc.opcode) {
    case IBV_WC_RECV:
    case IBV_WC_RECV_RDMA_WITH_IMM:
      out->byteLength = wc.byte_len;
      if ((wc.wc_flags & IBV_WC_WITH_IMM) != 0) {
        out->flags = kWithImm;
        out->imm = ntohl(wc.imm_data);
      } else if ((wc.wc_flags & (queue.context->isRxe ? kKernelWithInvalidate : uint32_t{IBV_WC_WITH_INV})) != 0) {
        out->flags = kWithInvalidate;
        out->imm = wc.invalidated_rkey;
      }
      // Of datagrams only; drivers say it of connections as well, without a source.
      if (queue.datagrams > 0 && wc.src_qp != 0) {
        out->sourceQp = wc.src_qp;
        if ((wc.wc_flags & IBV_WC_GRH) != 0) out->flags |= kWithGrh;
      }
      break;
    case IBV_WC_RDMA_READ:
      out->byteLength = wc.byte_len;
      break;
    case IBV_WC_COMP_SWAP:
    case IBV_WC_FETCH_ADD:
      out->byteLength = kAtomicBytes;
      break;
    default:
      break;
  }
}

}  // namespace

Completions::~Completions() {
  if (raw != nullptr) context->library.destroy_cq(raw);
}

int CompletionQueue::Create(const std::shared_ptr<Context>& context, uint32_t capacity,
                            onepiece::CompletionChannel* channel, std::unique_ptr<onepiece::CompletionQueue>* out) {
  if (capacity == 0 || capacity > INT_MAX) return -EINVAL;
  std::shared_ptr<EventSource> source;
  if (channel != nullptr) {
    CompletionChannel* own = CompletionChannel::Of(*context, channel);
    if (own == nullptr) return -EINVAL;
    source = own->Source();
  }
  errno = 0;
  ibv_cq* raw = context->library.create_cq(context->raw, static_cast<int>(capacity), nullptr,
                                           source ? source->raw : nullptr, 0);
  if (raw == nullptr) return LastError();
  auto completions = std::make_shared<Completions>(context, std::move(source), raw);
  out->reset(new (std::nothrow) CompletionQueue(std::move(completions)));
  return *out ? 0 : -ENOMEM;
}

CompletionQueue* CompletionQueue::Of(const Context& context, const onepiece::CompletionQueue* queue) {
  for (CompletionQueue* own : context.queues) {
    if (own == queue) return own;
  }
  return nullptr;
}

CompletionQueue::CompletionQueue(std::shared_ptr<Completions> completions)
    : completions_(std::move(completions)), number_(completions_->context->nextNumber++) {
  completions_->raw->cq_context = this;
  completions_->context->queues.push_back(this);
}

CompletionQueue::~CompletionQueue() { Forget(); }

void CompletionQueue::Forget() {
  if (!completions_) return;
  std::erase(completions_->context->queues, this);
  completions_.reset();
}

uint32_t CompletionQueue::Capacity() const {
  return completions_ ? static_cast<uint32_t>(completions_->raw->cqe) : 0;
}

int CompletionQueue::Resize(uint32_t capacity) {
  if (!completions_) return -EBADF;
  if (capacity == 0 || capacity > INT_MAX) return -EINVAL;
  return Ask(completions_->context->library.resize_cq, completions_->raw, static_cast<int>(capacity));
}

int CompletionQueue::Raw(RawNumbers* out) {
  if (!completions_) return -EBADF;
  *out = {reinterpret_cast<uintptr_t>(completions_->raw), completions_->raw->handle, -1, -1};
  return 0;
}

int CompletionQueue::Poll(CompletionRecord* out, int max) {
  if (!completions_) return -EBADF;
  if (max < 0) return -EINVAL;
  ibv_wc chunk[kPollChunk];
  int written = 0;
  while (written < max) {
    const int wanted = std::min(max - written, kPollChunk);
    errno = 0;
    const int found = ibv_poll_cq(completions_->raw, wanted, chunk);
    if (found < 0) return written > 0 ? written : Answer(found);
    for (int i = 0; i < found; ++i) Translate(chunk[i], *completions_, &out[written + i]);
    written += found;
    if (found < wanted) break;
  }
  return written;
}

int CompletionQueue::RequestNotify(bool solicitedOnly) {
  if (!completions_) return -EBADF;
  if (!completions_->source) return -EINVAL;  // the event would go nowhere; drivers do not say so
  return Ask(ibv_req_notify_cq, completions_->raw, solicitedOnly ? 1 : 0);
}

int CompletionQueue::Close() {
  if (!completions_) return 0;
  if (completions_.use_count() > 1) return -EBUSY;
  const int error = Ask(completions_->context->library.destroy_cq, completions_->raw);
  if (error != 0) return error;
  completions_->raw = nullptr;
  Forget();
  return 0;
}

}  // namespace onepiece::verbs

#endif
