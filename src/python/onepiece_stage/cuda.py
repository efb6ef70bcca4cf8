"""Memory that CUDA has registered, so that copies to and from a GPU run at full speed and by themselves.

Invariant: a mapping is registered at most once, and unregistered before its pages change or go away. Whatever the GPU
still does with the memory of a task has ended before the task does (`settle`). PyTorch is never imported here: without
it, or before it uses a GPU, nothing is done.
"""

from __future__ import annotations

import sys
from typing import Any, List, Set

#: Smaller tensors are copied by the driver through memory of its own, which takes as long.
SMALLEST_BYTES = 64 * 1024
_PORTABLE = 1  # cudaHostRegisterPortable: for all devices of this process


class Broken(Exception):
    """The GPU does not answer this process any more: what a kernel did wrong stays until the process ends."""


def _torch() -> Any:
    """PyTorch when it uses a GPU in this process already, else None."""
    torch = sys.modules.get("torch")
    cuda = getattr(torch, "cuda", None)
    return torch if cuda is not None and cuda.is_initialized() else None


class Registered:
    """The mappings that are registered, by their first byte."""

    def __init__(self) -> None:
        self._addresses: Set[int] = set()
        self._said = False

    def __len__(self) -> int:
        return len(self._addresses)

    def add(self, address: int, nbytes: int) -> bool:
        """Registers a mapping; False when there is no GPU in use, or when CUDA refuses it, which is said once."""
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
        """Unregisters a mapping; nothing happens when it is not registered."""
        if address not in self._addresses:
            return
        self._addresses.remove(address)
        torch = _torch()
        if torch is not None:
            torch.cuda.cudart().cudaHostUnregister(address)

    def forget(self) -> None:
        """In a process that was forked: CUDA does not work there, and what is registered is its parent's."""
        self._addresses = set()


def settle() -> None:
    """Waits until the GPUs that this process uses have done all that they were asked for.

    Raises Broken when they cannot.
    """
    torch = _torch()
    if torch is None:
        return
    try:
        for device in _used(torch):
            torch.cuda.synchronize(device)
    except RuntimeError as error:
        raise Broken(f"CUDA: {error}") from None


def _used(torch: Any) -> List[int]:
    devices = range(torch.cuda.device_count())
    # To wait for a device that is not in use would make a context there.
    is_used = getattr(getattr(torch, "_C", None), "_cuda_hasPrimaryContext", None)
    return [device for device in devices if is_used is None or is_used(device)]
