"""What is said of an error of a stage.

Invariant: whatever was raised has words, and nothing of the task is held by it afterwards.
"""

from __future__ import annotations

import asyncio
import os
import traceback
from typing import Optional, Tuple

from .task import Cancelled

_OWN = os.path.dirname(os.path.abspath(__file__))
#: What the worker says of a failed task: its text, whether a retry makes sense, whether a cancellation has caused it.
Failure = Tuple[str, bool, bool]


def failure_of(error: BaseException) -> Failure:
    """What a worker says of an error that the code of a stage has raised."""
    late = isinstance(error, (Cancelled, asyncio.CancelledError))
    return describe(error), getattr(error, "retryable", False) is True, late


def describe(error: BaseException) -> str:
    """An error in words, then where it was; its frames, which hold the arrays of the task, are let go of."""
    try:
        shown = str(error)
    except Exception:
        shown = "(it cannot be shown)"
    words = f"{type(error).__name__}: {shown}" if shown else type(error).__name__
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if not frame.filename.startswith(_OWN)]
    seen: Optional[BaseException] = error
    for _ in range(8):
        if seen is None:
            break
        traceback.clear_frames(seen.__traceback__)
        seen = seen.__cause__ or seen.__context__
    error.__traceback__ = None
    return words + ("\n" + "".join(traceback.format_list(frames)).rstrip() if frames else "")
