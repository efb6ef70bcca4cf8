"""Seeded random numbers: the same sequences as src/ts/demo/random.ts, many at a time.

Invariant: a sequence is a function of its seed words alone. The generator, xoshiro128** (Blackman and Vigna), is
linear over GF(2): its state after n steps is a product with the n-th power of a matrix. So a sequence is cut into
pieces, whose first states come from such powers, and all pieces go forward together.
"""

from __future__ import annotations

import functools
import math
from typing import Any, Tuple

import numpy as np

_MASK = 0xFFFFFFFF
#: How many words of a sequence one piece has; a multiple of 4.
_PIECE = 256
_SCALE = 1 / math.sqrt((8 * (65536 * 65536 - 1)) / 12)


def mix32(word: int) -> int:
    """Spreads every bit of a 32-bit word over all 32 bits of the result."""
    x = word & _MASK
    x = ((x ^ (x >> 16)) * 0x21F0AAAD) & _MASK
    x = ((x ^ (x >> 15)) * 0x735A2D97) & _MASK
    return x ^ (x >> 15)


def mix32_all(words: Any) -> Any:
    """The same for each element of an array of uint32."""
    x = (words ^ (words >> np.uint32(16))) * np.uint32(0x21F0AAAD)
    x = (x ^ (x >> np.uint32(15))) * np.uint32(0x735A2D97)
    return x ^ (x >> np.uint32(15))


def _seeded(words: Tuple[int, ...]) -> Tuple[int, int, int, int]:
    key = 0x9E3779B9
    for word in words:
        for half in (word & _MASK, word >> 32):
            key = (mix32(key ^ mix32(half)) + 0x632BE5AB) & _MASK
    a, b, c = (mix32(key + more) for more in (0x9E3779B9, 0x3C6EF372, 0xDAA66D2B))
    return a, b, c, mix32(key + 0x78DDE6E4) | 1


class Random:
    """One sequence, a number at a time. Seed words are integers, 0 to 2^53 - 1."""

    def __init__(self, *words: int) -> None:
        self._a, self._b, self._c, self._d = _seeded(words)

    def uint32(self) -> int:
        """An integer, 0 to 2^32 - 1, uniform."""
        product = (self._b * 5) & _MASK
        result = (((product << 7) | (product >> 25)) * 9) & _MASK
        shifted = (self._b << 9) & _MASK
        self._c ^= self._a
        self._d ^= self._b
        self._b ^= self._c
        self._a ^= self._d
        self._c ^= shifted
        self._d = ((self._d << 11) | (self._d >> 21)) & _MASK
        return result

    def float(self) -> float:
        """A number in [0, 1), uniform."""
        return self.uint32() / 0x100000000


def gaussians(count: int, *words: int) -> Any:
    """The first ``count`` nearly normal numbers of a sequence, float64: mean 0, variance 1."""
    pieces = -(-4 * count // _PIECE)
    a, b, c, d = (column.copy() for column in _first_states(_seeded(words), pieces).T)
    drawn = np.empty((_PIECE, pieces), np.uint32)
    for step in range(_PIECE):
        drawn[step] = _rotated(b * np.uint32(5), 7) * np.uint32(9)
        a, b, c, d = _stepped(a, b, c, d)
    sums = ((drawn & np.uint32(0xFFFF)) + (drawn >> np.uint32(16))).T.reshape(-1, 4).sum(axis=1, dtype=np.int64)
    return (sums[:count] - 262140) * _SCALE


def _rotated(x: Any, by: int) -> Any:
    return (x << np.uint32(by)) | (x >> np.uint32(32 - by))


def _stepped(a: Any, b: Any, c: Any, d: Any) -> Tuple[Any, Any, Any, Any]:
    c1, d1 = c ^ a, d ^ b
    return a ^ d1, b ^ c1, c1 ^ (b << np.uint32(9)), _rotated(d1, 11)


def _first_states(state: Tuple[int, int, int, int], pieces: int) -> Any:
    """The state at the start of each piece, [pieces, 4] uint32."""
    bits = _bits(np.array([state], np.uint32))
    power = 0
    while len(bits) < pieces:
        # What is there, as many pieces further on.
        bits = np.concatenate([bits, _product(bits, _jump(power))])
        power += 1
    return _words(bits[:pieces])


@functools.lru_cache(maxsize=None)
def _jump(power: int) -> Any:
    """The matrix of ``_PIECE * 2 ** power`` steps: a state, as a row of bits, times it is the state after them."""
    if power > 0:
        half = _jump(power - 1)
        return _product(half, half)
    matrix = _bits(np.stack(_stepped(*_words(np.eye(128, dtype=np.float32)).T.copy()), axis=1))
    for _ in range(_PIECE.bit_length() - 1):
        matrix = _product(matrix, matrix)
    return matrix


def _product(left: Any, right: Any) -> Any:
    return np.mod(left @ right, 2)  # sums of at most 128: exact in float32


def _bits(words: Any) -> Any:
    return np.unpackbits(words.astype("<u4").view(np.uint8), axis=1, bitorder="little").astype(np.float32)


def _words(bits: Any) -> Any:
    return np.packbits(bits.astype(np.uint8), axis=1, bitorder="little").view("<u4").astype(np.uint32)
