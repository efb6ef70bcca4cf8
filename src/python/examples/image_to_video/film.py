"""From a frame in latent space to its pixels: the arithmetic of src/ts/demo/decode.ts.

Invariant: the pixels are a function of the frame's latent and its motion row.
"""

from __future__ import annotations

import math
from typing import Any, Dict

import numpy as np
from curves import clamp, ease, rounded, wave
from latents import BLUE_OF_CB, RED_OF_CR, develop
from motion import MOTION
from randoms import Random, mix32_all


def decode_frame(latent: Any, motion: Any, into: Any) -> None:
    """Latent [40, height / 8, width / 8] and motion row [21] to RGB [height, width, 3] uint8."""
    row = dict(zip(MOTION, motion.astype(np.float64).tolist()))
    linear = _film(develop(latent), row)
    if row["snow"] > 0:
        _add_snow(linear, row)
    if row["rain"] > 0:
        _add_rain(linear, row)
    _print(linear, row, into)


def _film(still: Any, row: Dict[str, float]) -> Any:
    """Looks at the picture through the camera, then adds fog and grades: about 0..1, [height, width, 3] float32."""
    height, width = still[0].shape
    u = ((np.arange(width) + 0.5) / width - 0.5)[None, :]
    v = ((np.arange(height) + 0.5) / height - 0.5)[:, None]
    light, blueness, redness = _seen(still, row, v)
    if row["fog"] > 0:
        density = row["fog"] * _fog_density(u, v, row)
        light = light + (0.52 - light) * density
        blueness = blueness * (1 - density)
        redness = redness * (1 - density)
    exposure, warmth, tint = row["exposure"], row["warmth"], row["tint"]
    gain = 1 + 0.8 * exposure if exposure >= 0 else 1 / (1 - 1.6 * exposure)
    red_gain = gain * (1 + (0.24 if warmth > 0 else 0.26) * warmth) * (1 + 0.07 * tint)
    green_gain = gain * (1 + (-0.02 if warmth > 0 else 0.05) * warmth) * (1 - 0.15 * tint)
    blue_gain = gain * (1 - (0.32 if warmth > 0 else 0.2) * warmth) * (1 + 0.07 * tint)
    slope = 1 + 0.6 * row["contrast"]
    pivot = 0.45 * min(1, gain)
    saturation = 1 + row["saturation"] if row["saturation"] < 0 else 1 + 0.9 * row["saturation"]
    shade = (light + 1) / 2
    raw_red = shade + RED_OF_CR * redness
    raw_blue = shade + BLUE_OF_CB * blueness
    raw_green = (shade - 0.299 * raw_red - 0.114 * raw_blue) / 0.587
    red = pivot + (raw_red * red_gain - pivot) * slope
    green = pivot + (raw_green * green_gain - pivot) * slope
    blue = pivot + (raw_blue * blue_gain - pivot) * slope
    grey = 0.299 * red + 0.587 * green + 0.114 * blue
    red, green, blue = (grey + (one - grey) * saturation for one in (red, green, blue))
    sepia = row["sepia"]
    if sepia > 0:
        red = red + (grey * 1.12 + 0.03 - red) * sepia
        green = green + (grey * 0.97 + 0.01 - green) * sepia
        blue = blue + (grey * 0.74 - blue) * sepia
    corner = (u * u + v * v) * 2
    dim = 1 - 0.75 * row["vignette"] * corner * (0.4 + 0.6 * corner)
    linear = np.empty((height, width, 3), np.float32)
    for i, one in enumerate((red, green, blue)):
        linear[:, :, i] = _shoulder(one * dim)
    return linear


def _seen(still: Any, row: Dict[str, float], v: Any) -> Any:
    """The three planes where the camera looks, float64, between the four pixels around each place."""
    height, width = still[0].shape
    zoom = max(1, row["zoom"])
    roll = row["roll"]
    cosine = 1 - (roll * roll) / 2
    sine = roll - (roll * roll * roll) / 6
    near = 1 + 2 * row["parallax"] * v  # 1 in the middle row, more below it, less above
    scale = 1 / np.maximum(1, zoom + (zoom - 1) * 0.5 * (near - 1))
    step_x = scale * cosine
    step_y = scale * sine
    offset = row["dx"] * near
    start_x = (0.5 + offset) * width - scale * (cosine * (width / 2) - sine * v * height) + step_x / 2 - 0.5
    start_y = (
        (0.5 + row["dy"]) * height + (cosine * v * height) / zoom - (sine * (width / 2)) / zoom + step_y / 2 - 0.5
    )
    x = np.arange(width)[None, :]
    sx = np.clip(start_x + x * step_x, 0, width - 1)
    sy = np.clip(start_y + x * step_y, 0, height - 1)
    x0, y0 = sx.astype(np.intp), sy.astype(np.intp)
    fx, fy = sx - x0, sy - y0
    a = y0 * width + x0
    b = np.where(x0 < width - 1, a + 1, a)
    c = np.where(y0 < height - 1, a + width, a)
    d = c + b - a
    shares = ((1 - fx) * (1 - fy), fx * (1 - fy), (1 - fx) * fy, fx * fy)

    def look(plane: Any) -> Any:
        flat = plane.reshape(-1).astype(np.float64)
        return flat[a] * shares[0] + flat[b] * shares[1] + flat[c] * shares[2] + flat[d] * shares[3]

    return [look(plane) for plane in still]


def _shoulder(value: Any) -> Any:
    """Leaves shadows and middle tones; bends what is brighter than 0.85 so that it nears 1 instead of clipping."""
    over = (np.maximum(value, 0.85) - 0.85) / 0.15
    return np.where(value <= 0.85, value, 0.85 + (0.15 * over) / (1 + 0.8 * over))


def _fog_density(u: Any, v: Any, row: Dict[str, float]) -> Any:
    x, y, key = row["fogX"], row["fogY"], int(row["weatherKey"])
    coarse = _lumps(u * 2.4 + x * 3, v * 4 + y * 3, key)
    fine = _lumps(u * 6 + x * 8, v * 9 + y * 8, key + 1)
    return np.clip(0.62 + 0.35 * v + 0.75 * (0.68 * coarse + 0.32 * fine - 0.5), 0.1, 1)


def _lumps(x: Any, y: Any, key: int) -> Any:
    """Value noise: smooth between random values at whole numbers, 0..1."""
    ix, iy = np.floor(x), np.floor(y)
    fx, fy = ease(x - ix), ease(y - iy)

    def corner(right: int, below: int) -> Any:
        across = (ix + right).astype(np.int64).astype(np.uint32) * np.uint32(0x27D4EB2F)
        down = (iy + below).astype(np.int64).astype(np.uint32) * np.uint32(0x165667B1)
        return mix32_all(across ^ down ^ np.uint32(key)) / 0x100000000

    top = corner(0, 0) * (1 - fx) + corner(1, 0) * fx
    bottom = corner(0, 1) * (1 - fx) + corner(1, 1) * fx
    return top * (1 - fy) + bottom * fy


def _weather_light(row: Dict[str, float]) -> float:
    return clamp(0.96 + 0.55 * min(0, row["exposure"]), 0.4, 0.96)


def _fraction(value: float) -> float:
    return value - math.floor(value)


def _add_snow(linear: Any, row: Dict[str, float]) -> None:
    height, width, _ = linear.shape
    clock = row["clock"]
    random = Random(int(row["weatherKey"]), 0x736E6F)
    brightness = _weather_light(row)
    unit = max(width, height) / 320
    for _ in range(rounded(420 * clamp(row["snow"], 0, 1))):
        x0, y0 = random.float(), random.float()
        near = random.float() * random.float()  # most flakes are far: small, slow and faint
        phase = random.float()
        radius = (0.8 + 2.6 * near) * unit
        sway = (0.006 + 0.02 * near) * wave(clock * 0.45 + phase)
        cx = _fraction(x0 + sway + clock * (0.02 + 0.03 * near)) * (width + 8) - 4
        cy = _fraction(y0 + clock * (0.14 + 0.34 * near)) * (height + 8) - 4
        left, right = max(0, math.ceil(cx - radius)), min(width - 1, math.floor(cx + radius))
        top, bottom = max(0, math.ceil(cy - radius)), min(height - 1, math.floor(cy + radius))
        if left > right or top > bottom:
            continue
        x, y = np.arange(left, right + 1)[None, :], np.arange(top, bottom + 1)[:, None]
        far = ((x - cx) * (x - cx) + (y - cy) * (y - cy)) / (radius * radius)
        share = np.where(far < 1, (0.55 + 0.4 * near) * (1 - far * far), 0)
        patch = linear[top : bottom + 1, left : right + 1]
        _blend(patch, ..., share[:, :, None], brightness)


def _add_rain(linear: Any, row: Dict[str, float]) -> None:
    height, width, _ = linear.shape
    clock = row["clock"]
    random = Random(int(row["weatherKey"]), 0x726169)
    brightness = 0.92 * _weather_light(row)
    slant = 0.16
    for _ in range(rounded(420 * clamp(row["rain"], 0, 1))):
        x0, y0, near = random.float(), random.float(), random.float()
        speed = 1.15 + 0.9 * near
        length = max(3, rounded((0.035 + 0.07 * near) * height))
        fall = _fraction(y0 + clock * speed)
        top = fall * (height + length) - length
        start = _fraction(x0 - (slant * clock * speed * height) / width) * width
        strength = 0.14 + 0.2 * near
        k = np.arange(length)
        y = np.floor(top + k).astype(np.intp)
        k, y = k[(y >= 0) & (y < height)], y[(y >= 0) & (y < height)]
        x = start - slant * k
        left = np.floor(x)
        share = x - left
        fade = strength * (0.35 + (0.65 * k) / length)
        column = left.astype(np.intp) % width
        _blend(linear, (y, column), (fade * (1 - share))[:, None], brightness)
        _blend(linear, (y, (column + 1) % width), (fade * share)[:, None], brightness)


def _blend(linear: Any, at: Any, share: Any, brightness: float) -> None:
    there = linear[at].astype(np.float64)
    linear[at] = there + share * (brightness - there)


def _print(linear: Any, row: Dict[str, float], into: Any) -> None:
    """Adds the film's grain and rounds to bytes."""
    height, width, _ = linear.shape
    amount = 0.8 + 14 * row["grain"]
    key = np.uint32((int(row["grainKey"]) * 0x9E3779B1) & 0xFFFFFFFF)
    word = mix32_all(np.arange(width * height, dtype=np.uint32) ^ key)
    sums = (word & np.uint32(0xFFFF)) + (word >> np.uint32(16))
    grain = ((sums / 65535 - 1) * amount).reshape(height, width, 1)
    value = linear.astype(np.float64) * 255 + grain
    into[...] = np.where(value <= 0, 0, np.where(value >= 254.5, 255, value + 0.5)).astype(np.uint8)
