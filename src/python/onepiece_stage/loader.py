"""Finds the code of a stage: a class or a function in a file.

Invariant: one sentence says what is wrong and names the file, before any task comes.
"""

from __future__ import annotations

import importlib.util
import inspect
import os
import sys
from typing import Any, Callable, Optional

from .stage import Context, Stage


class Code:
    """The code of a stage: ``call`` takes a task, or a list of them; ``is_async`` says that it answers a coroutine."""

    def __init__(self, call: Callable[[Any], Any], is_async: bool, setup: Optional[Callable[[Context], Any]]) -> None:
        self.call = call
        self.is_async = is_async
        self.setup = setup


def load(file: str, name: str, is_batch: bool, concurrency: int) -> Code:
    """Imports the file and finds its stage.

    Raises what the file raises, LookupError, TypeError, ValueError or FileNotFoundError.
    """
    found = _import(file)
    if not hasattr(found, name):
        stages = [key for key, value in vars(found).items() if _is_stage(value, file)]
        raise LookupError(f"{file} has no {name!r}; its stages are: {', '.join(sorted(stages)) or 'none'}")
    value = getattr(found, name)
    if inspect.isclass(value):
        value = value()
    if not isinstance(value, Stage) and callable(value):
        if is_batch:
            raise TypeError(f"{name} of {file} is a function: a stage with batch is a class with run_batch()")
        return _checked(Code(value, inspect.iscoroutinefunction(value), None), name, concurrency)
    call = getattr(value, "run_batch" if is_batch else "run", None)
    if call is None:
        raise TypeError(f"{name} of {file} is no stage: derive it from Stage, or make it a function with @stage")
    return _checked(Code(call, inspect.iscoroutinefunction(call), getattr(value, "setup", None)), name, concurrency)


def _checked(code: Code, name: str, concurrency: int) -> Code:
    if concurrency > 1 and not code.is_async:
        raise TypeError(f"concurrency is {concurrency}, and {name} takes one at a time: make it async, or use batch")
    return code


def _is_stage(value: Any, file: str) -> bool:
    if inspect.isclass(value):
        return issubclass(value, Stage) and value is not Stage
    return getattr(value, "__onepiece_stage__", False) is True


def _import(file: str) -> Any:
    if not os.path.isfile(file):
        raise FileNotFoundError(f"there is no file {file}")
    name = os.path.splitext(os.path.basename(file))[0]
    if name in sys.modules:
        name = f"onepiece_stage_file_{name}"
    sys.path.insert(0, os.path.dirname(file))
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise ValueError(f"{file} is no Python file: its name must end in .py")
    module = importlib.util.module_from_spec(spec)
    # So that what it defines can be pickled.
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module
