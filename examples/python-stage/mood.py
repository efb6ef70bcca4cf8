"""A stage in Python: how positive each line of a text is, by a list of words that is loaded once.

The standard library is enough here. With NumPy or PyTorch use ``tensor.numpy()`` or ``tensor.torch()`` instead of
``memoryview()``: they are views of the same memory.
"""

from __future__ import annotations

from typing import Any, Dict

from onepiece_stage import Context, Stage, Task


class Mood(Stage):
    def setup(self, context: Context) -> None:
        """Runs once in each process, before its first task. A real stage loads its model here."""
        self.weights: Dict[str, float] = {"good": 1.0, "great": 2.0, "bad": -1.0, "awful": -2.0}

    def run(self, task: Task) -> Dict[str, Any]:
        text = task.inputs["clean"]["text"].memoryview()  # a view of the memory that the stage before has sent from
        lines = bytes(text).decode("utf-8").splitlines()
        scores = task.output("scores", "f32", [len(lines)])  # the memory that it is sent from
        out: Any = scores.memoryview().cast("f")
        for number, line in enumerate(lines):
            task.progress(number / len(lines))  # raises Cancelled when nobody wants the result any more
            out[number] = sum(self.weights.get(word, 0.0) for word in line.split())
        return {"lines": len(lines)}  # metadata: what JSON can carry
