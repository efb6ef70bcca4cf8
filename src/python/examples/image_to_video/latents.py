"""The latent space, and the way into it and out of it: the arithmetic of src/ts/demo/basis.ts and image-encode.ts.

Invariant: each element is computed with the same operations in the same order as there, in float64, and kept as
float32; so both give the same bytes.
"""

from __future__ import annotations

import math
from typing import Any, List, NamedTuple, Tuple

import numpy as np

BLOCK = 8
LUMA_ORDER = 6
CHROMA_ORDER = 2
RED_OF_CR = 0.5 / 0.713
BLUE_OF_CB = 0.5 / 0.564


class Channel(NamedTuple):
    """Plane (0 luma, 1 Cb, 2 Cr), half waves across and down, u + v, and the coefficient's size for a latent of 1."""

    plane: int
    u: int
    v: int
    order: int
    scale: float


def _channels() -> List[Channel]:
    made = []
    for plane in range(3):
        contrast = 1 if plane == 0 else 0.3
        for order in range((LUMA_ORDER if plane == 0 else CHROMA_ORDER) + 1):
            scale = 4 * contrast if order == 0 else contrast / (0.5 + order * 0.8)
            made += [Channel(plane, order - v, v, order, scale) for v in range(order + 1)]
    return made


def _dct() -> Any:
    # cos(k pi / 16) for k = 0..8 by halving angles; the other quadrants by symmetry.
    cosines = [1.0] + [0.0] * 8
    cosines[4] = math.sqrt(0.5)
    cosines[2] = math.sqrt((1 + cosines[4]) / 2)
    cosines[6] = math.sqrt((1 - cosines[4]) / 2)
    cosines[1] = math.sqrt((1 + cosines[2]) / 2)
    cosines[7] = math.sqrt((1 - cosines[2]) / 2)
    cosines[3] = math.sqrt((1 + cosines[6]) / 2)
    cosines[5] = math.sqrt((1 - cosines[6]) / 2)
    table = np.empty((8, 8))
    for u in range(8):
        for x in range(8):
            k = ((2 * x + 1) * u) % 32
            k = 32 - k if k > 16 else k
            table[u, x] = (math.sqrt(1 / 8) if u == 0 else 0.5) * (cosines[k] if k <= 8 else -cosines[16 - k])
    return table


CHANNELS = _channels()
#: DCT[u, x]: the orthonormal 8-point cosine basis.
DCT = _dct()


def channel_index(plane: int, u: int, v: int) -> int:
    """Where a channel lies in a latent."""
    return next(i for i, one in enumerate(CHANNELS) if (one.plane, one.u, one.v) == (plane, u, v))


def encode(pixels: Any, latent: Any) -> None:
    """Picture to latent.

    Args:
        pixels: [height, width, 3] uint8, sides multiples of 8.
        latent: [40, height / 8, width / 8] float32, written.
    """
    height, width, _ = pixels.shape
    red, green, blue = (pixels[:, :, i].astype(np.float64) for i in range(3))
    light = 0.299 * red + 0.587 * green + 0.114 * blue
    planes = (light / 127.5 - 1, ((blue - light) * 0.564) / 127.5, ((red - light) * 0.713) / 127.5)
    # [y in the block, x in it, block row, block column]
    blocks = [plane.reshape(height // 8, 8, width // 8, 8).transpose(1, 3, 0, 2) for plane in planes]
    halves = [[_sum(DCT[u, x] * block[:, x] for x in range(8)) for u in range(LUMA_ORDER + 1)] for block in blocks]
    for i, channel in enumerate(CHANNELS):
        half = halves[channel.plane][channel.u]
        latent[i] = _sum(DCT[channel.v, y] * half[y] for y in range(8)) / channel.scale


def develop(latent: Any) -> Tuple[Any, Any, Any]:
    """Latent to luma -1..1 and the two colour differences, [height, width] float32 each."""
    _, rows, columns = latent.shape
    planes = []
    for plane, order in enumerate((LUMA_ORDER, CHROMA_ORDER, CHROMA_ORDER)):
        block = {
            (one.v, one.u): latent[i].astype(np.float64) * one.scale
            for i, one in enumerate(CHANNELS)
            if one.plane == plane
        }
        # half[u] is [y, block row, block column]
        half = [_sum(DCT[v, :, None, None] * block[v, u] for v in range(order - u + 1)) for u in range(order + 1)]
        shown = np.empty((rows, 8, columns, 8), np.float32)
        for x in range(8):
            shown[:, :, :, x] = _sum(DCT[u, x] * half[u] for u in range(order + 1)).transpose(1, 0, 2)
        planes.append(shown.reshape(rows * 8, columns * 8))
    return planes[0], planes[1], planes[2]


def _sum(terms: Any) -> Any:
    total: Any = 0.0
    for term in terms:
        total = total + term  # in this order: floating-point sums depend on it
    return total
