"""Memory that CUDA has registered, so that copies to and from a GPU are asynchronous and run at full speed.

Invariant: a mapping is registered at most once, and unregistered before its pages change or go away. The GPU has
finished with the memory of a task before the task ends (`settle`). PyTorch is never imported here: without it,
or before it uses a GPU, nothing happens.
"""

from __future__ import annotations

import sys
from typing import Any, List, Set

#: The driver copies smaller tensors through its own pinned memory, which takes as long.
SMALLEST_BYTES = 64 * 1024
_PORTABLE = 1  # cudaHostRegisterPortable: for all devices of this process


class Broken(Exception):
    """A kernel has broken this process's CUDA context: every call fails until the process ends."""


def _torch() -> Any:
    """PyTorch if it already uses a GPU in this process, else None."""
    torch = sys.modules.get("torch")
    cuda = getattr(torch, "cuda", None)
    return torch if cuda is not None and cuda.is_initialized() else None


def has_torch_gpu() -> bool:
    """Whether PyTorch uses a GPU in this process."""
    return _torch() is not None


class Registered:
    """The registered mappings, by their first address."""

    def __init__(self) -> None:
        self._addresses: Set[int] = set()
        self._said = False

    def __len__(self) -> int:
        return len(self._addresses)

    def add(self, address: int, nbytes: int) -> bool:
        """Registers a mapping; False when no GPU is in use or CUDA refuses, which stderr says once."""
        if address in self._addresses:
            return True
        torch = _torch()
        if torch is None:
            return False
        status = int(torch.cuda.cudart().cudaHostRegister(address, nbytes, _PORTABLE))
        if status != 0:
            if not self._said:
                self._said = True
                sys.stderr.write(
                    f"onepiece_stage: cudaHostRegister of {nbytes} bytes failed (CUDA error {status}): copies to and"
                    " from the GPU are slow (said once)\n"
                )
            return False
        self._addresses.add(address)
        return True

    def remove(self, address: int) -> None:
        """Unregisters a mapping, if it is registered."""
        if address not in self._addresses:
            return
        self._addresses.remove(address)
        torch = _torch()
        if torch is not None:
            torch.cuda.cudart().cudaHostUnregister(address)

    def forget(self) -> None:
        """For a forked process: CUDA does not work there, and the registrations are its parent's."""
        self._addresses = set()


def settle() -> List[int]:
    """Waits until the GPUs that PyTorch uses in this process have finished their work, whoever asked for it.

    Returns their numbers. Raises Broken when they cannot.
    """
    torch = _torch()
    if torch is None:
        return []
    devices = _used(torch)
    try:
        for device in devices:
            torch.cuda.synchronize(device)
    except RuntimeError as error:
        raise Broken(f"CUDA: {error}") from None
    return devices


def _used(torch: Any) -> List[int]:
    devices = list(range(torch.cuda.device_count()))
    # Synchronizing a device that is not in use would create a context there.
    is_used = getattr(getattr(torch, "_C", None), "_cuda_hasPrimaryContext", None)
    return [device for device in devices if is_used is None or is_used(device)]
