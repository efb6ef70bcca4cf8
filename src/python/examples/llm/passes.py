"""Passes of a model over tensors of fixed shapes: on a GPU each one is a CUDA graph, so one launch has all its kernels.

Invariant: a pass reads and writes the same tensors at each run, and what it leaves is in tensors that its caller has
made: all graphs share the memory of everything between. Without graphs a pass does the same work, one kernel at a time.
"""

from __future__ import annotations

from typing import Any, Callable, Dict, Hashable, Optional

import torch


class Passes:
    """Passes by name, on one device.

    Args:
        graphs: whether they are CUDA graphs; default: on a GPU.
    """

    def __init__(self, device: torch.device, graphs: Optional[bool] = None) -> None:
        self.device = device
        self.has_graphs = device.type == "cuda" if graphs is None else graphs
        self._runs: Dict[Hashable, Callable[[], None]] = {}
        self._pool: Any = None

    def __len__(self) -> int:
        return len(self._runs)

    def add(self, name: Hashable, run: Callable[[], None]) -> None:
        """Adds a pass; as a graph it is captured here. Add the largest first: the others then need no more memory."""
        if not self.has_graphs:
            self._runs[name] = run
            return
        # One run without a graph: libraries load their kernels and allocate their workspaces.
        side, current = torch.cuda.Stream(self.device), torch.cuda.current_stream(self.device)
        side.wait_stream(current)
        with torch.cuda.stream(side):
            run()
        current.wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self._pool):
            run()
        self._pool = graph.pool()
        self._runs[name] = graph.replay

    def run(self, name: Hashable) -> None:
        """Runs a pass. Raises KeyError for one that was not added."""
        self._runs[name]()
