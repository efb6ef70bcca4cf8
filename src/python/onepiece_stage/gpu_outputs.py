"""What one task has on GPUs: the outputs that it makes there, and the inputs that lie there.

Invariant: a block that does not go out with the output of the task is given back when that ends. An output that cannot
go out by a handle is in memory of the host before the task is answered.
"""

from __future__ import annotations

import ctypes
import gc
from typing import Any, Callable, List, NamedTuple, Optional, Sequence, Tuple

from .gpu import Gpu, GpuWindow, Peers
from .gpu_pool import Block
from .memory import Window


class _Output(NamedTuple):
    block: Block
    window: Optional[Window]  # of the host, where it goes through that


class GpuOutputs:
    """Those of one task."""

    def __init__(self, gpu: Gpu, peers: Optional[Peers]) -> None:
        self.gpu = gpu
        self._peers = peers
        self._outputs: List[_Output] = []
        self._shown: List[GpuWindow] = []
        self._inputs: List[GpuWindow] = []

    def add(
        self, device: int, nbytes: int, on_host: Callable[[], Tuple[Optional[Window], Tuple[Any, ...]]]
    ) -> Tuple[GpuWindow, Tuple[Any, ...]]:
        """Memory for an output, and how it goes out.

        Args:
            on_host: makes memory of the host for it, where it goes through that; answers how that goes out.
        """
        block = self.gpu.take(device, nbytes)
        try:
            why = self.gpu.why_host(self._peers, block)
            window, place = (None, ("g", block.number, self.gpu.describe(block))) if why is None else on_host()
        except BaseException:
            self.gpu.give(block.number)
            raise
        self._outputs.append(_Output(block, window))
        shown = self.gpu.window(nbytes, block, None)
        self._shown.append(shown)
        return shown, place

    def input(self, nbytes: int, words: str) -> GpuWindow:
        """Shows the input that these words describe."""
        shown = self.gpu.window(nbytes, None, words)
        self._inputs.append(shown)
        return shown

    def settle(self, settled: Sequence[int]) -> None:
        """The code of the stage has returned: waits for the GPUs, and copies what goes through the host.

        Args:
            settled: devices that have done their work already.

        Raises cuda.Broken.
        """
        self.gpu.settle([*self._shown, *self._inputs], settled)
        for block, window in self._outputs:
            if window is not None:
                window.register()
                self.gpu.copy(ctypes.addressof(window.raw()), block.address, window.nbytes)

    @property
    def is_lost(self) -> bool:
        """Whether the owner of an input that was used has ended."""
        return any(window.is_lost for window in self._inputs)

    def end(self) -> bool:
        """Ends all views; answers whether a tensor of an input is kept, which would show other bytes soon."""
        used = [window for window in self._inputs if window.owner is not None]
        for shown in [*self._shown, *self._inputs]:
            shown.close()
        self._shown = []
        self._inputs = []
        for block, on_host in self._outputs:
            if on_host is not None:
                self.gpu.give(block.number)
        if any(window.exports.live > 0 for window in used):
            gc.collect()  # in a cycle, perhaps
        return any(window.exports.live > 0 for window in used)

    def give_back(self) -> None:
        """The output does not go out."""
        for block, _ in self._outputs:
            self.gpu.give(block.number)
        self._outputs = []
