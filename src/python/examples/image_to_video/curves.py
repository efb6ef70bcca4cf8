"""Scalar curves, of numbers and of arrays: see src/ts/demo/curves.ts."""

from __future__ import annotations

import math
from typing import Any

import numpy as np


def clamp(value: float, low: float, high: float) -> float:
    """``value`` limited to ``low``..``high``."""
    return min(high, max(low, value))


def ease(x: Any) -> Any:
    """Smooth step of what lies in 0..1: flat at both ends."""
    return x * x * (3 - 2 * x)


def wave(value: float) -> float:
    """A sine of period 1, by a corrected parabola."""
    x = value - math.floor(value)
    half = x if x < 0.5 else x - 0.5
    arc = 16 * half * (0.5 - half)
    sine = arc * (0.775 + 0.225 * arc)
    return sine if x < 0.5 else -sine


def wave_all(value: Any) -> Any:
    """The same of an array."""
    x = value - np.floor(value)
    half = np.where(x < 0.5, x, x - 0.5)
    arc = 16 * half * (0.5 - half)
    sine = arc * (0.775 + 0.225 * arc)
    return np.where(x < 0.5, sine, -sine)


def rounded(value: float) -> int:
    """The nearest integer, halves up."""
    return math.floor(value + 0.5)
