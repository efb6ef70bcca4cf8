"""Tensors that stay on a GPU between two stages on one host.

Invariant: an output leaves its GPU by a handle (CUDA IPC) only when all of its receivers were found able to open one;
otherwise it goes through memory of the host. The GPU has written an output before its message goes out, and has read
an input before its task ends (`settle`). See docs/python.md, "From GPU to GPU".
"""

from __future__ import annotations

import base64
import ctypes
import json
import os
import secrets
from typing import Any, Dict, List, Optional, Sequence, Tuple, Union

from .cuda import Broken, has_torch_gpu
from .cudart import Cudart, CudaError
from .dlpack import Exports
from .gpu_mappings import Mapping, Mappings, OnOwner, Owner, Unreachable, ignore, started_at
from .gpu_pool import Block, Pool

_PROBE_BYTES = 32
#: What a stage process says of its receivers: place and probe of each, or why no handle can go to all of them.
Peers = Union[str, List[Tuple[str, str]]]


class GpuWindow:
    """Memory of a GPU that a tensor shows while its task runs."""

    __slots__ = ("_gpu", "_block", "_words", "_mapping", "owner", "exports", "nbytes", "_is_open")

    def __init__(self, gpu: "Gpu", nbytes: int, block: Optional[Block], words: Optional[Dict[str, Any]]) -> None:
        self._gpu = gpu
        self.nbytes = nbytes
        self._block = block
        self._words = words  # the description of an input; it is mapped when it is used first
        self._mapping: Optional[Mapping] = None
        self.owner: Optional[Owner] = None  # of what was mapped, or was tried to be
        self.exports = Exports() if block is None else block.exports
        self._is_open = True

    def where(self) -> Tuple[int, int]:
        """Its address, and the number of the device on which that is valid.

        Raises ValueError when the task has ended; Lost; Unreachable.
        """
        if not self._is_open:
            raise ValueError("the task of this tensor has ended: copy what you want to keep")
        if self._block is not None:
            return self._block.address, self._block.arena.device
        assert self._words is not None
        if self._mapping is None:
            self._mapping = self._gpu.map(self, self._words)
        return self._mapping.address + int(self._words["offset"]), self._mapping.device

    @property
    def device(self) -> Optional[int]:
        """Of a tensor that was used; None for an input that was not."""
        if self._block is not None:
            return self._block.arena.device
        return None if self._mapping is None else self._mapping.device

    @property
    def is_lost(self) -> bool:
        """Whether it was used, and the process that owns it has ended."""
        return self.owner is not None and self.owner.is_over

    def close(self) -> None:
        """Its task has ended."""
        self._is_open = False
        if self._mapping is not None:
            self._mapping.users -= 1
            self._mapping = None


class Gpu:
    """What a worker has to do with GPUs, beside what PyTorch does."""

    def __init__(self, on_owner: OnOwner = ignore) -> None:
        self._on_owner = on_owner
        self._cudart: Optional[Cudart] = None
        self._pool: Optional[Pool] = None
        self._mappings: Optional[Mappings] = None
        self._self = (os.getpid(), started_at(os.getpid()) or "")
        self._uuids: List[str] = []
        self._reached: Dict[str, Optional[str]] = {}
        self._arenas: Dict[Tuple[int, str], List[int]] = {}
        self._last_why: Optional[str] = None
        self._sent = 0
        self._through_host = 0

    # ---- Its start

    def offer(self, is_asked: bool) -> Dict[str, Any]:
        """What other processes learn of this one: a probe that they try to open, or why there is none.

        Args:
            is_asked: the stage has GPUs; else it is looked for one only when the code uses one already.
        """
        if os.environ.get("ONEPIECE_GPU_IPC") == "0":
            return {"why": "ONEPIECE_GPU_IPC is 0"}
        if not is_asked and not has_torch_gpu() and not os.environ.get("ONEPIECE_CUDART"):
            return {"why": "the stage has no GPU in its resources, and setup() used none"}
        try:
            return {"probe": self._make_probe()}
        except (OSError, CudaError, MemoryError) as error:
            return {"why": str(error)}

    def _make_probe(self) -> str:
        cudart, pool, _ = self._ready()
        block = pool.take(cudart.device(), _PROBE_BYTES)
        block.arena.is_shared = True
        secret = secrets.token_bytes(_PROBE_BYTES)
        source, address = _buffer(secret)
        cudart.copy(block.address, address, len(source))
        handle = cudart.handle(block.arena.address)
        return json.dumps(
            {
                "handle": base64.b64encode(handle).decode(),
                "offset": block.offset,
                "bytes": secret.hex(),
                "gpu": self._uuids[block.arena.device],
            }
        )

    def _ready(self) -> Tuple[Cudart, Pool, Mappings]:
        """Loads the CUDA runtime when it is needed first. Raises OSError and CudaError when there is none."""
        if self._cudart is None or self._pool is None or self._mappings is None:
            cudart = Cudart.load()
            count = cudart.device_count()
            if count == 0:
                raise OSError("this process sees no GPU")
            self._uuids = [cudart.uuid(device) for device in range(count)]
            self._cudart, self._pool, self._mappings = cudart, Pool(cudart), Mappings(cudart, self._on_owner)
        return self._cudart, self._pool, self._mappings

    # ---- Outputs

    def device(self, device: Any) -> Optional[int]:
        """The number of a GPU that is named as PyTorch does; None for the host. Raises ValueError; RuntimeError."""
        kind, _, index = str("cpu" if device is None else device).partition(":")
        if kind == "cpu":
            return None
        if kind != "cuda" or not (index == "" or index.isdigit()):
            raise ValueError(f'the device of an output is "cpu", "cuda" or "cuda:0" and so on, not {device!r}')
        try:
            cudart, _, _ = self._ready()
            number = int(index) if index else cudart.device()
        except (OSError, CudaError) as error:
            raise RuntimeError(f"an output cannot be made on {device}: {error}") from None
        if number >= len(self._uuids):
            raise ValueError(f"there is no {device}: this process sees {len(self._uuids)} GPUs")
        return number

    def has_room(self, device: int, nbytes: int) -> bool:
        """Whether a block can be had without new memory of the device."""
        return self._ready()[1].has_room(device, nbytes)

    def take(self, device: int, nbytes: int) -> Block:
        """Memory for an output. Raises MemoryError; RuntimeError."""
        try:
            return self._ready()[1].take(device, nbytes)
        except CudaError as error:
            raise RuntimeError(f"no memory on GPU {device}: {error}") from None

    def give(self, number: int) -> None:
        """Nobody else needs a block."""
        if self._pool is not None:
            self._pool.give(number)

    def window(self, nbytes: int, block: Optional[Block], words: Optional[str]) -> GpuWindow:
        """Shows a block of an output, or the input that these words describe."""
        return GpuWindow(self, nbytes, block, None if words is None else json.loads(words))

    def describe(self, block: Block) -> str:
        """What a receiver opens a block by."""
        arena = block.arena
        assert arena.handle is not None and self._pool is not None
        arena.is_shared = True
        return json.dumps(
            {
                "owner": self._self,
                "arena": arena.number,
                "arenas": self._pool.arenas,
                "handle": base64.b64encode(arena.handle).decode(),
                "offset": block.offset,
                "gpu": self._uuids[arena.device],
            },
            separators=(",", ":"),
        )

    def why_host(self, peers: Optional[Peers], block: Block) -> Optional[str]:
        """Why a block goes through the host; None: all receivers can open it."""
        why = self._why_host(peers, block)
        if why is None:
            self._sent += 1
        else:
            self._through_host += 1
            self._last_why = why
        return why

    def _why_host(self, peers: Optional[Peers], block: Block) -> Optional[str]:
        if peers is None:
            return "this process cannot share memory of its GPU"
        if isinstance(peers, str):
            return peers
        if block.arena.handle is None:
            return "the driver gives no handle for memory of this GPU"
        for place, probe in peers:
            if probe not in self._reached:
                self._reached[probe] = self._try(block.arena.device, probe)
            why = self._reached[probe]
            if why is not None:
                return f"{place} cannot be reached: {why}"
        return None

    def _try(self, device: int, probe: str) -> Optional[str]:
        """Opens what a receiver offers and reads it: what works in one direction works in the other."""
        cudart, _, _ = self._ready()
        try:
            words = json.loads(probe)
            wanted = bytes.fromhex(words["bytes"])
            address = cudart.open(device, base64.b64decode(words["handle"]))
            try:
                found, to = _buffer(bytes(len(wanted)))
                cudart.copy(to, address + int(words["offset"]), len(wanted))
            finally:
                cudart.close(device, address)
        except (CudaError, ValueError, KeyError) as error:
            return str(error)
        return None if found.raw == wanted else "its memory shows something else here"

    # ---- Inputs

    def map(self, window: GpuWindow, words: Dict[str, Any]) -> Mapping:
        """Maps what an input lies in. Raises Lost; Unreachable."""
        try:
            cudart, _, mappings = self._ready()
        except (OSError, CudaError) as error:
            raise Unreachable(f"an input lies on a GPU: {error}") from None
        key = (int(words["owner"][0]), str(words["owner"][1]))
        window.owner = mappings.owner(key)
        self._arenas[key] = words["arenas"]
        device = self._uuids.index(words["gpu"]) if words["gpu"] in self._uuids else cudart.device()
        return mappings.map(key, int(words["arena"]), base64.b64decode(words["handle"]), device)

    def tidy(self) -> None:
        """Closes mappings of memory that is gone at its owner, as far as no task uses them."""
        if self._mappings is not None:
            self._mappings.tidy(self._arenas)
            self._arenas = {}

    def copy(self, to: int, source: int, nbytes: int) -> None:
        """Copies between addresses of GPUs and of the host. Raises Broken when a GPU does not answer."""
        try:
            self._ready()[0].copy(to, source, nbytes)
        except CudaError as error:
            raise Broken(f"CUDA: {error}") from None

    def settle(self, windows: List[GpuWindow], settled: Sequence[int]) -> None:
        """Waits until the devices of some tensors have done their work, but for those that have. Raises Broken when
        they cannot."""
        cudart = self._cudart
        if cudart is None:
            return
        try:
            for device in {window.device for window in windows} - {None, *settled}:
                assert device is not None
                cudart.synchronize(device)
        except CudaError as error:
            raise Broken(f"CUDA: {error}") from None

    # ---- State

    def take_counts(self) -> Optional[List[Any]]:
        """Outputs that went by handle and through the host since it was asked last, and why; None: there were none."""
        if self._sent == 0 and self._through_host == 0:
            return None
        counts = [self._sent, self._through_host, self._last_why]
        self._sent = self._through_host = 0
        return counts

    @property
    def held(self) -> int:
        """How many blocks are in use."""
        return 0 if self._pool is None else self._pool.held

    def forget(self) -> None:
        """In a process that was forked: CUDA does not work there."""
        if self._mappings is not None:
            self._mappings.forget()
        self._cudart = self._pool = self._mappings = None


def _buffer(data: bytes) -> Tuple[Any, int]:
    """A copy that can be written, and its address."""
    made = ctypes.create_string_buffer(data, len(data))
    return made, ctypes.addressof(made)
