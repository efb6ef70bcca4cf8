"""Memory of GPUs for outputs that stay there: arenas, and blocks of them.

Invariant: a block belongs to one output, until the stage process says that nobody needs it any more and no tensor of
this process shows it any more. Each arena is one allocation, so that one handle opens all of its blocks elsewhere; the
handle is asked for once. An arena whose handle went out stays until this process ends: what becomes of memory that is
freed while another process has it open is undefined (CUDA Runtime API, cudaIpcGetMemHandle).
"""

from __future__ import annotations

import threading
from typing import Dict, List, Optional, Tuple

from .cudart import Cudart, CudaError
from .dlpack import Exports

#: Arenas have at least so many bytes.
ARENA_BYTES = 64 * 2**20
#: Blocks begin on a multiple of this, as allocations of CUDA do.
_ALIGN_BYTES = 512
#: So many arenas without a block are kept for each device, of those whose handles did not go out.
_IDLE_ARENAS = 2


class Arena:
    """One allocation of a device."""

    def __init__(self, number: int, device: int, address: int, nbytes: int, handle: Optional[bytes]) -> None:
        self.number = number
        self.device = device
        self.address = address
        self.nbytes = nbytes
        self.handle = handle
        self.blocks = 0
        self.is_shared = False
        self._free: List[Tuple[int, int]] = [(0, nbytes)]  # offset and bytes, in order, never side by side

    def take(self, nbytes: int) -> Optional[int]:
        """The offset of a block of so many bytes (a multiple of the alignment); None: there is none."""
        for at, (offset, size) in enumerate(self._free):
            if size < nbytes:
                continue
            if size == nbytes:
                del self._free[at]
            else:
                self._free[at] = (offset + nbytes, size - nbytes)
            self.blocks += 1
            return offset
        return None

    def give(self, offset: int, nbytes: int) -> None:
        """Takes a block back."""
        self.blocks -= 1
        merged: List[Tuple[int, int]] = []
        for start, size in sorted([*self._free, (offset, nbytes)]):
            if merged and merged[-1][0] + merged[-1][1] == start:
                merged[-1] = (merged[-1][0], merged[-1][1] + size)
            else:
                merged.append((start, size))
        self._free = merged


class Block:
    """Memory of one output."""

    def __init__(self, number: int, arena: Arena, offset: int, nbytes: int, held: int) -> None:
        self.number = number
        self.arena = arena
        self.offset = offset
        self.nbytes = nbytes
        self.exports = Exports()
        self.is_wanted = True
        self._held_bytes = held

    @property
    def address(self) -> int:
        return self.arena.address + self.offset


class Pool:
    """All arenas of this process."""

    def __init__(self, cudart: Cudart) -> None:
        self._cudart = cudart
        self._arenas: Dict[int, Arena] = {}
        self._blocks: Dict[int, Block] = {}
        self._last = 0
        self._lock = threading.RLock()

    @property
    def held(self) -> int:
        """How many blocks are in use."""
        return len(self._blocks)

    @property
    def arenas(self) -> List[int]:
        """The numbers of the arenas that there are."""
        with self._lock:
            return list(self._arenas)

    def has_room(self, device: int, nbytes: int) -> bool:
        """Whether a block needs no new arena."""
        with self._lock:
            self._sweep()
            taken = self._find(device, _aligned(nbytes))
            if taken is None:
                return False
            arena, offset = taken
            arena.give(offset, _aligned(nbytes))
            return True

    def take(self, device: int, nbytes: int) -> Block:
        """A block of a device. Raises MemoryError when the device has no room for it; CudaError."""
        held = _aligned(nbytes)
        with self._lock:
            self._sweep()
            found = self._find(device, held)
            if found is None:
                arena = self._grow(device, held)
                offset = arena.take(held)
                assert offset is not None
            else:
                arena, offset = found
            self._last += 1
            block = self._blocks[self._last] = Block(self._last, arena, offset, nbytes, held)
            return block

    def _find(self, device: int, held: int) -> Optional[Tuple[Arena, int]]:
        for arena in self._arenas.values():
            if arena.device != device:
                continue
            offset = arena.take(held)
            if offset is not None:
                return arena, offset
        return None

    def _grow(self, device: int, held: int) -> Arena:
        nbytes = _arena_bytes(held)
        try:
            address = self._cudart.malloc(device, nbytes)
        except CudaError as error:
            if not error.is_out_of_memory:
                raise
            self._trim(device, 0)
            try:
                address = self._cudart.malloc(device, nbytes)
            except CudaError as second:
                raise MemoryError(f"no {nbytes} bytes on GPU {device} for an output: {second}") from None
        try:
            handle: Optional[bytes] = self._cudart.handle(address)
        except CudaError:
            handle = None
        self._last += 1
        arena = self._arenas[self._last] = Arena(self._last, device, address, nbytes, handle)
        return arena

    def give(self, number: int) -> None:
        """Nobody else needs a block any more; one that is not there was given back already."""
        with self._lock:
            block = self._blocks.get(number)
            if block is not None:
                block.is_wanted = False
                self._sweep()

    def _sweep(self) -> None:
        """Takes back what nobody needs or shows; a tensor that the code of the stage keeps goes on showing its own."""
        over = [block for block in self._blocks.values() if not block.is_wanted and block.exports.live == 0]
        for block in over:
            del self._blocks[block.number]
            block.arena.give(block.offset, block._held_bytes)
        if over:
            for device in {block.arena.device for block in over}:
                self._trim(device, _IDLE_ARENAS)

    def _trim(self, device: int, keep: int) -> None:
        own = [arena for arena in self._arenas.values() if arena.device == device and not arena.is_shared]
        idle = [arena for arena in own if arena.blocks == 0]
        for arena in idle[: max(0, len(idle) - keep)]:
            del self._arenas[arena.number]
            self._cudart.free(arena.address)


def _arena_bytes(held: int) -> int:
    """In steps of an eighth: outputs of many sizes find room in few arenas."""
    step = max(ARENA_BYTES, 1 << (held - 1).bit_length()) // 8
    return max(ARENA_BYTES, -(-held // step) * step)


def _aligned(nbytes: int) -> int:
    return max(1, -(-nbytes // _ALIGN_BYTES)) * _ALIGN_BYTES
