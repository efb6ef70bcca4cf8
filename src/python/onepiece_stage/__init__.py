"""Stages of a onepiece-rdma pipeline in Python.

A stage is a function that takes a :class:`Task`, marked with :func:`stage`, or a subclass of :class:`Stage`. Its inputs
and outputs are views of memory that the stages share: see docs/python.md of onepiece-rdma.
"""

import sys

# Here, as Python reads this file first: what follows has words that versions before do not know.
if sys.version_info < (3, 9):
    raise RuntimeError("onepiece_stage needs Python 3.9 or later, not %d.%d" % sys.version_info[:2])

from .stage import Context, Stage, stage  # noqa: E402
from .task import Cancelled, Input, Task  # noqa: E402
from .tensor import Tensor  # noqa: E402

__all__ = ["Cancelled", "Context", "Input", "Stage", "Task", "Tensor", "stage"]
