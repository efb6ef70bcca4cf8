"""Measured costs of stages on a machine, as a JSON file. The planner's profiles have another format, with sources.

Invariant: every figure in the file was measured on the machine that the file names.
"""

from __future__ import annotations

import json
import os
from typing import Any, Dict


class Profile:
    """The costs of the stages of one workflow.

    Args:
        machine: its name, for example that of its GPU.
        options: what was measured, such as sizes.
    """

    def __init__(self, machine: str, options: Dict[str, Any]) -> None:
        self.machine = machine
        self.options = options
        self.stages: Dict[str, Dict[str, Any]] = {}

    def loaded(self, stage: str, seconds: float, memory_bytes: int) -> None:
        """Records the load of a stage: how long it took, and its peak memory on the device."""
        self._stage(stage).update(loadSeconds=round(seconds, 3), loadedBytes=memory_bytes)

    def ran(self, stage: str, batch: int, seconds: float, memory_bytes: int) -> None:
        """Records the run of a batch: how long it took, and the peak memory of the device, weights included."""
        row = {"batch": batch, "seconds": round(seconds, 4), "memoryBytes": memory_bytes}
        self._stage(stage)["batches"].append(row)

    def _stage(self, stage: str) -> Dict[str, Any]:
        return self.stages.setdefault(stage, {"batches": []})

    def document(self) -> Dict[str, Any]:
        """The contents of the file."""
        return {"machine": self.machine, "options": self.options, "stages": self.stages}

    def write(self, path: str) -> None:
        """Writes the file whole, or not at all."""
        write_whole(path, self.document())


def write_whole(path: str, document: Dict[str, Any]) -> None:
    """Writes a document as JSON: the file is whole, or as it was. Raises OSError when it cannot be written."""
    beside = f"{path}.{os.getpid()}"
    with open(beside, "w") as file:
        file.write(as_json(document) + "\n")
    os.replace(beside, path)


def as_json(value: Any, depth: int = 0) -> str:
    """JSON with two spaces for each level; what has no object or array inside has a line of its own."""
    inside = list(value.values()) if isinstance(value, dict) else value if isinstance(value, list) else []
    if not any(isinstance(one, (dict, list)) for one in inside):
        return json.dumps(value)
    indent = "  " * (depth + 1)
    if isinstance(value, dict):
        rows = [f"{json.dumps(key)}: {as_json(one, depth + 1)}" for key, one in value.items()]
    else:
        rows = [as_json(one, depth + 1) for one in value]
    opening, closing = "{}" if isinstance(value, dict) else "[]"
    return f"{opening}\n" + ",\n".join(indent + row for row in rows) + f"\n{'  ' * depth}{closing}"
