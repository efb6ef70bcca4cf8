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
#: Characters of what is said of an error: its record fits the ring, whatever its text is.
_MAX_CHARS = 8000
#: How many causes of an error are named.
_MAX_CAUSES = 4
#: What the worker says of a failed task: its text, whether a retry makes sense, whether a cancellation has caused it.
Failure = Tuple[str, bool, bool]


def failure_of(error: BaseException) -> Failure:
    """What a worker says of an error that the code of a stage has raised."""
    late = isinstance(error, (Cancelled, asyncio.CancelledError))
    return describe(error), getattr(error, "retryable", False) is True, late


def describe(error: BaseException) -> str:
    """An error in words, then where it was, then its causes.

    At most some thousand characters of Unicode. The frames, which hold the arrays of the task, are let go of.
    """
    told = [_words(error)]
    seen = _cause(error)
    while seen is not None and len(told) <= _MAX_CAUSES:
        told.append(f"caused by {_words(seen)}")
        seen = _cause(seen)
    at: Optional[BaseException] = error
    for _ in range(8):
        if at is None:
            break
        traceback.clear_frames(at.__traceback__)
        at = at.__cause__ or at.__context__
    error.__traceback__ = None
    text = _shortened("\n".join(told))
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _words(error: BaseException) -> str:
    words = _named(error)
    for one in getattr(error, "exceptions", ())[:_MAX_CAUSES]:  # of a group
        words += f"\n  {_named(one)}"
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if not _is_ours(frame.filename)]
    return words + ("\n" + "".join(traceback.format_list(frames)).rstrip() if frames else "")


def _named(error: BaseException) -> str:
    try:
        shown = _shortened(str(error))
    except Exception:
        shown = "(it cannot be shown)"
    return f"{type(error).__name__}: {shown}" if shown else type(error).__name__


def _is_ours(filename: str) -> bool:
    return filename.startswith((_OWN, "<frozen importlib"))


def _cause(error: BaseException) -> Optional[BaseException]:
    return error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def _shortened(text: str) -> str:
    if len(text) <= _MAX_CHARS:
        return text
    return f"{text[: _MAX_CHARS // 2]}\n...\n{text[-_MAX_CHARS // 2 :]}"
