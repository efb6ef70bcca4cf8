"""From noise to a frame in latent space: the arithmetic of src/ts/demo/diffuse.ts.

Invariant: a frame is a function of the picture's latent, the conditioning, the seed, the numbers of frames and steps,
and its own number.
"""

from __future__ import annotations

import math
from typing import Any, Iterator, List, NamedTuple, Tuple

import numpy as np
from curves import clamp, ease, wave_all
from latents import CHANNELS, DCT, LUMA_ORDER, channel_index
from motion import CONTROL, progress
from randoms import gaussians

_SHARED, _FRAME = 0x736861, 0x667261


class _Wave(NamedTuple):
    kx: float
    ky: float
    phase: float
    drift: float
    weight: float


class Sampler:
    """Refines the frames of one clip.

    Args:
        latent: of the picture, [40, height / 8, width / 8] float32.
        embedding: [tokens, 64] float32.
        controls: [28] float32.
        frames: of the whole clip.
        steps: passes over each frame.
        seed: 0 to 2^53 - 1.
    """

    def __init__(self, latent: Any, embedding: Any, controls: Any, frames: int, steps: int, seed: int) -> None:
        self._latent = latent.astype(np.float64)
        self._embedding = embedding.astype(np.float64)
        self._controls = controls.astype(np.float64).tolist()
        self._frames = frames
        self._steps = steps
        self._seed = seed
        self._shared = gaussians(latent.size, seed, _SHARED).astype(np.float32)
        detail = self._control("detail")
        gains = [max(0.1, 1 + (0.025 + 0.09 * detail) * one.order) for one in CHANNELS]
        self._gains = np.array(gains)[:, None, None]
        self._waves = [[self._wave(plane, n) for n in range(3)] for plane in range(3)]
        self._passes = [self._levels(step) for step in range(steps)]

    def _control(self, name: str) -> float:
        return float(self._controls[CONTROL[name]])

    def _wave(self, plane: int, n: int) -> _Wave:
        at = 16 + plane * 15 + n * 5
        value = [clamp(float(one), -2.5, 2.5) for one in self._embedding[0, at : at + 5]]
        drift = 0.3 * value[3] + 0.5 * self._control("driftX")
        return _Wave(0.75 * value[0], 0.75 * value[1], value[2], drift, 1 + 0.3 * value[4])

    def _levels(self, step: int) -> Tuple[Any, Any, Any, Any, Any]:
        """Of a pass, for each channel: level, level after it, what each leaves of the picture, gain."""
        rows: List[Tuple[float, ...]] = []
        for at, one in enumerate(CHANNELS):
            level = _noise_level(one, step / self._steps)
            after = _noise_level(one, (step + 1) / self._steps)
            attention = clamp(float(self._embedding[step % len(self._embedding), at % 64]), -2, 2)
            gain = 0.3 * level * (1 + 0.35 * attention)
            rows.append((level, after, math.sqrt(1 - level * level), math.sqrt(1 - after * after), gain))
        level, after, keep, keep_after, gain = np.array(rows).T[:, :, None, None]
        return level, after, keep, keep_after, gain

    def refine(self, frame: int, into: Any) -> Iterator[int]:
        """Makes a frame in ``into``, [40, height / 8, width / 8] float32; yields the number of passes done."""
        own = gaussians(into.size, self._seed, _FRAME, frame)
        into[...] = (0.8 * self._shared + 0.6 * own).reshape(into.shape)
        target = self._paint(frame).astype(np.float64)
        for step, (level, after, keep, keep_after, gain) in enumerate(self._passes):
            now = into.astype(np.float64)
            residual = now - keep * target
            left = np.concatenate([residual[:, :, :1], residual[:, :, :-1]], axis=2)
            right = np.concatenate([residual[:, :, 1:], residual[:, :, -1:]], axis=2)
            up = np.concatenate([residual[:, :1], residual[:, :-1]], axis=1)
            down = np.concatenate([residual[:, 1:], residual[:, -1:]], axis=1)
            smooth = 0.5 * residual + 0.125 * (left + right + up + down)
            clean = target + gain * smooth
            noise = (now - keep * clean) / level
            into[...] = keep_after * clean + after * noise
            yield step + 1

    def _paint(self, frame: int) -> Any:
        """The picture under the prompt's light: what the frame is drawn to, float32."""
        target = (self._gains * self._latent).astype(np.float32)
        e = progress(frame, self._frames)
        for plane in range(3):
            field = self._field(plane, e)
            mean = channel_index(plane, 0, 0)
            _add(target, mean, (8 / CHANNELS[mean].scale) * field[1:-1, 1:-1])
            for order in (1, 3, 5) if plane == 0 else (1,):
                along, down = channel_index(plane, order, 0), channel_index(plane, 0, order)
                slope = _RAMP[order] / (16 * CHANNELS[along].scale)
                _add(target, along, slope * (field[1:-1, 2:] - field[1:-1, :-2]))
                _add(target, down, slope * (field[2:, 1:-1] - field[:-2, 1:-1]))
        return target

    def _field(self, plane: int, e: float) -> Any:
        """What light and style add at the centre of each block, and one block beyond each edge."""
        _, height, width = self._latent.shape
        pace = min(2, self._control("speed"))
        across = 2 * e - 1
        warmth, glow = self._control("warmth"), self._control("glow")
        grey = min(0, self._control("saturation")) + 1
        light = (0.3 * glow, -0.09 * glow * warmth, 0.07 * glow * warmth)[plane]
        light_x = self._control("lightX") + 0.9 * self._control("lightDrift") * across * pace
        light_y = self._control("lightY")
        style = self._control("style") * (0.07 if plane == 0 else 0.075 * grey)
        v = (((np.arange(-1, height + 1) + 0.5) / height) * 2 - 1)[:, None]
        u = (((np.arange(-1, width + 1) + 0.5) / width) * 2 - 1)[None, :]
        far = ((u - light_x) * (u - light_x) + (v - light_y) * (v - light_y)) * 1.4
        pool = 1 / (1 + far)
        total = light * (pool * pool - 0.25)
        for one in self._waves[plane]:
            bent = 0.5 * (one.kx * u + one.ky * v) + one.phase + one.drift * across
            total = total + style * one.weight * wave_all(bent)
        return total


def _add(target: Any, channel: int, more: Any) -> None:
    target[channel] = target[channel].astype(np.float64) + more


def _ramp(u: int) -> float:
    total = 0.0
    for x in range(8):
        total += float(DCT[u, x]) * (x - 3.5)
    return total * math.sqrt(8)


# A ramp of one unit a pixel over a block, as coefficients of the cosines along it.
_RAMP = {u: _ramp(u) for u in (1, 3, 5)}


def _noise_level(channel: Any, done: float) -> float:
    if channel.order == 0:
        trace = 0.012
    else:
        trace = 0.03 + 0.009 * channel.order if channel.plane == 0 else 0.02
    late = channel.order / LUMA_ORDER if channel.plane == 0 else channel.order / 4
    left = 1 - ease(clamp(done * 1.4 - 0.4 * late, 0, 1))
    return float(trace + (1 - trace) * left)
