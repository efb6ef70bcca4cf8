"""What the passes of prefill and decode take, as ``measure`` timed them on a device.

Invariant: every pass has a recorded size; one between two of them takes as long as the larger one, because passes are
graphs of rounded sizes. A size above all recorded ones is an error: nothing is extrapolated.
"""

from __future__ import annotations

import json
from typing import Any, Dict, List, Tuple


class Costs:
    """Seconds of passes.

    Args:
        document: a profile of ``examples.llm.measure``.

    Raises ValueError for a document that lacks a figure.
    """

    def __init__(self, document: Dict[str, Any]) -> None:
        try:
            self.machine: str = document["machine"]
            self.options: Dict[str, Any] = document["options"]
            self.kv_bytes: int = self.options["kvBytes"]
            passes = document["passes"]
            self._prompts = {row["tokens"]: _seconds(row) for row in passes["prompt"]}
            self._steps = {(row["sequences"], row["reach"]): _seconds(row) for row in passes["step"]}
            self._pieces: Dict[int, Dict[Tuple[int, int, int], float]] = {}
            for row in passes["piece"]:
                at = (row["sequences"], row["start"], row["tokens"])
                self._pieces.setdefault(row["chunk"], {})[at] = _seconds(row)
        except (KeyError, TypeError) as error:
            raise ValueError(f"the profile lacks {error}") from None
        self._prompt_sizes = sorted(self._prompts)
        self._counts = sorted({count for count, _ in self._steps})
        self._reaches = sorted({reach for _, reach in self._steps})
        self._beside = {chunk: sorted({at[0] for at in rows}) for chunk, rows in self._pieces.items()}
        self._piece_sizes = {chunk: sorted({at[2] for at in rows}) for chunk, rows in self._pieces.items()}

    @property
    def longest(self) -> int:
        """Tokens of the longest sequence, prompt and answer."""
        return self._reaches[-1]

    @property
    def chunks(self) -> List[int]:
        """The sizes of pieces that were timed."""
        return sorted(self._pieces)

    def prompt(self, tokens: int) -> float:
        """A whole prompt is read, in s. Raises ValueError for more tokens than any that was timed."""
        return self._prompts[_at_least(self._prompt_sizes, tokens, "tokens of a prompt")]

    def step(self, sequences: int, reach: int) -> float:
        """Each of the sequences gets a token; the longest has ``reach`` tokens then. In s."""
        count = _at_least(self._counts, sequences, "sequences")
        return self._steps[count, _at_least(self._reaches, reach, "tokens of a sequence")]

    def piece(self, chunk: int, sequences: int, start: int, tokens: int) -> float:
        """As a step, and a piece of a prompt in the same pass: ``tokens`` of it, from ``start`` on. In s."""
        if chunk not in self._pieces:
            raise ValueError(f"pieces of {chunk} tokens were not timed; {', '.join(map(str, self.chunks))} were")
        beside = _at_least(self._beside[chunk], sequences, "sequences beside a piece")
        size = _at_least(self._piece_sizes[chunk], tokens, "tokens of a piece")
        found = self._pieces[chunk].get((beside, start, size))
        if found is None:
            raise ValueError(f"a piece of {size} tokens at {start} was not timed")
        return found


def read_costs(path: str) -> Costs:
    """The costs of a file. Raises OSError, or ValueError when it is no profile of passes."""
    with open(path) as file:
        try:
            return Costs(json.load(file))
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from None


def _seconds(row: Dict[str, Any]) -> float:
    seconds = row["seconds"]
    if not isinstance(seconds, (int, float)) or not 0 < seconds < 3600:
        raise ValueError(f"seconds above 0, not {seconds!r}")
    return float(seconds)


def _at_least(sizes: List[int], wanted: int, what: str) -> int:
    for size in sizes:
        if size >= wanted:
            return size
    raise ValueError(f"{wanted} {what}; at most {sizes[-1] if sizes else 0} were timed")
