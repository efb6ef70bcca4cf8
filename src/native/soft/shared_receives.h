// Receives that many peers take from at once: those of a shared receive queue, and those of a datagram queue pair.
//
//   order[position]   which entry is at this position of the queue          (the owner writes)
//   entry.taken       at which position it is, and who has taken it          (taken by compare-and-swap)
//   posted, head      positions: up to where it is filled, from where it is not yet taken
//   done[n]           per queue pair: the n-th entry that was completed for it    (filled by compare-and-swap)
//
// Taking: read head and the entry there, swap `taken` from (position, nobody) to (position, me), move head on.
// Completing: write the results into the entry, swap done[tail] from (empty, tail) to (entry, tail), move tail on.
//
// Invariant: nobody is ever waited for. A taker that dies or stops
//  - before its swap of `taken` has taken nothing;
//  - between that swap and moving head on leaves a head that is behind: whoever finds the entry at head taken moves it
//    on in the other's place (the swap of head fails for all but one), so head is never stuck;
//  - with an entry taken holds exactly that one entry. It is out of the queue, its position can be used again, and all
//    other receives go on. The owner finds it by `taken` (Recover) once the taker was proved outside: when the queue pair
//    goes to ERROR it is completed as flushed, when it is reset or destroyed it is posted again. Until then one receive
//    of the capacity is missing, and Held() counts it;
//  - with results written but its swap of `done` not made is the same case; after the swap the completion is whole;
//  - between the swap of `done` and moving tail on leaves a tail that is behind, and the next one moves it on, the
//    owner before it makes a place empty again.
// No swap can succeed late by mistake: positions only grow, and each word that is swapped carries its position, so a
// taker that slept for an hour finds another value. (Positions are cut to 40 bits; a taker that slept for exactly 2^40
// posts would take a receive that is really posted, which is what it asked for.)
// What peers write is checked: an entry counts as completed only if the owner posted it and has not had it back.
#pragma once

#include <memory>
#include <vector>

#include "context.h"

namespace onepiece::soft {

// A view of a peer's SrqSlot, of which everything was checked to lie within the directory.
struct SharedView {
  SrqSlot* slot = nullptr;
  std::atomic<uint64_t>* order = nullptr;
  RqEntry* entries = nullptr;
  uint32_t capacity = 0;
  // False: nothing of sense is there.
  static bool Read(const Directory& directory, uint32_t index, SharedView* out);

  bool HasReceive() const { return slot->head.load() != slot->posted.load(); }
  // Takes the next receive for `taker` (not 0, below 2^24); false when there is none.
  bool Take(uint32_t taker, uint32_t* entry) const;
  // The event that is due when few are left; true when this call raised it and the owner has to be notified.
  bool CheckLimit(const Directory& directory, uint32_t index) const;
};

// The ring of what is done.
struct DoneRing {
  std::atomic<uint64_t>* words;
  uint32_t capacity;
  std::atomic<uint64_t>* tail;

  void Clear();
  // `returned`: not used after all, to be posted again.
  void Push(uint32_t entry, bool returned) const;
  // The owner's: the n-th entry, or false.
  bool Pop(uint64_t n, uint32_t* entry, bool* returned) const;
};

// The owner's side.
class SharedReceives {
 public:
  static int Create(Context& context, uint32_t pd, uint32_t capacity, bool datagrams,
                    std::shared_ptr<SharedReceives>* out);
  ~SharedReceives();
  SharedReceives(const SharedReceives&) = delete;
  SharedReceives& operator=(const SharedReceives&) = delete;

  uint32_t index() const { return index_; }
  uint32_t number() const { return number_; }
  uint32_t capacity() const { return capacity_; }
  SrqSlot& slot() const { return context_.directory().srq(index_); }
  RqEntry& entry(uint32_t entry) const { return context_.directory().rq(entriesOffset_, entry, capacity_); }
  const uint8_t* payload(uint32_t entry) const {
    return context_.directory().base + payloadOffset_ + uint64_t{entry} * kDatagramBytes;
  }
  DoneRing done() const;
  bool IsFull() const { return free_.empty(); }
  // Puts a receive at the end of the queue; there must be room.
  void Post(const ReceiveRecord& record);
  // `entry` was said to be completed: gives it back. False: it was not out.
  bool Accept(uint32_t entry);
  bool IsTakenBy(uint32_t entry, uint32_t taker) const;
  // The same, and posts it again.
  void PostAnew(uint32_t entry);
  // An entry that `taker` has taken and not completed; false: none.
  bool FindTakenBy(uint32_t taker, uint32_t* entry) const;
  // Posts again all that `taker` has taken and not completed.
  void Recover(uint32_t taker);
  // Of datagrams: takes back all that nobody has taken; a receive that was taken is thrown away when it completes.
  void Withdraw();
  bool IsOut(uint32_t entry) const { return entry < capacity_ && states_[entry] == State::kOut; }
  bool IsThrownAway(uint32_t entry) const {
    return entry < capacity_ && states_[entry] == State::kThrownAway;
  }
  // Gives back what dead processes have taken; `polled`: how many were had from the ring of what is done.
  void RecoverDead(uint64_t polled);
  // How many are taken and not completed.
  uint32_t Held() const;
  // Peers that sleep for a receive are to be woken; asked after posting.
  bool TakeWaiting() { return slot().waiting.load() != 0 && slot().waiting.exchange(0) != 0; }

  int users = 0;
  uint64_t donePolled = 0;  // of datagrams

 private:
  enum class State : uint8_t { kFree, kOut, kThrownAway };

  SharedReceives(Context& context, uint32_t capacity) : context_(context), capacity_(capacity) {}
  void Enqueue(uint32_t entry);

  Context& context_;
  uint32_t capacity_;
  uint32_t index_ = 0;
  uint32_t number_ = 0;
  uint64_t rangeOffset_ = 0;
  uint64_t rangeBytes_ = 0;
  // As in the slot, but peers can write there.
  uint64_t orderOffset_ = 0;
  uint64_t doneOffset_ = 0;
  uint64_t entriesOffset_ = 0;
  uint64_t payloadOffset_ = 0;
  uint64_t posted_ = 0;
  std::vector<uint32_t> free_;
  std::vector<State> states_;
};

}  // namespace onepiece::soft
