"""Stages of a onepiece-rdma pipeline in Python.

A stage is a function that takes a :class:`Task`, marked with :func:`stage`, or a subclass of :class:`Stage`. Its inputs
and outputs are views of memory that the stages share: see docs/python.md of onepiece-rdma.
"""

from .stage import Context, Stage, stage
from .task import Cancelled, Input, Task
from .tensor import Tensor

__all__ = ["Cancelled", "Context", "Input", "Stage", "Task", "Tensor", "stage"]
