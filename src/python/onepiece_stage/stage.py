"""What the code of a stage is: a class, or a function."""

from __future__ import annotations

from typing import Any, Awaitable, Callable, Mapping, Optional, Sequence, TypeVar, Union

from .task import Task

#: What ``run`` returns: metadata, or nothing.
Result = Optional[Mapping[str, Any]]

_Function = TypeVar("_Function", bound=Callable[[Task], Union[Result, Awaitable[Result]]])


class Context:
    """Where a stage runs.

    Attributes:
        stage: its name in the workflow.
        instance: which of its instances this process runs.
        concurrency: tasks, or batches, that run at a time.
    """

    def __init__(self, stage: str, instance: int, concurrency: int) -> None:
        self.stage = stage
        self.instance = instance
        self.concurrency = concurrency

    @property
    def device(self) -> str:
        """``"cuda"`` when PyTorch is installed and sees a GPU, else ``"cpu"``."""
        try:
            import torch
        except ImportError:
            return "cpu"
        return "cuda" if torch.cuda.is_available() else "cpu"


class Stage:
    """The code of a stage. One object is made in each process; override what you need.

    ``run`` takes one task; ``run_batch`` is called instead when the stage has ``batch`` in the workflow. Both may be
    ``async``; a stage with a ``concurrency`` of more than 1 must be.
    """

    def setup(self, context: Context) -> None:
        """Called once, before the first task: load the model here. No task comes before it has returned."""

    def run(self, task: Task) -> Union[Result, Awaitable[Result]]:
        """Does one task: reads ``task.inputs``, makes ``task.output(...)``, and returns metadata, or None."""
        raise NotImplementedError(f"{type(self).__name__} has no run()")

    def run_batch(
        self, tasks: Sequence[Task]
    ) -> Union[Sequence[Union[Result, Exception]], Awaitable[Sequence[Union[Result, Exception]]]]:
        """Does several tasks together; returns one result for each.

        An exception in the place of a result fails that task alone.
        """
        raise NotImplementedError(f"{type(self).__name__} has no run_batch()")


def stage(function: _Function) -> _Function:
    """Marks a function of a task as a stage: ``@stage``. It may be ``async``."""
    setattr(function, "__onepiece_stage__", True)
    return function
