"""The autoencoder of Wan: a clip becomes 16 channels at an eighth of its size and a quarter of its frames, and back.

Invariant: names and shapes of its parameters are those of Wan2.1_VAE.pth. A clip is read and made in pieces of 1, 4,
4 ... frames; a layer that looks back in time keeps what it needs of earlier pieces in ``Past``. So memory does not grow
with the clip, and the pieces give the same as the whole.
"""

from __future__ import annotations

from typing import Dict, Iterator, List

import torch
from torch import nn
from torch.nn import functional

from ..tools import Tensor, attention, parameter
from .shape import Shape

_MULTIPLES = (1, 2, 4, 4)
_BLOCKS = 2
# Of the 16 channels of a latent; the transformer takes it with mean 0 and deviation 1.
_MEAN = (-0.7571, -0.7089, -0.9113, 0.1075, -0.1745, 0.9653, -0.1517, 1.5508,
         0.4134, -0.0715, 0.5517, -0.3632, -0.1922, -0.9497, 0.2503, -0.2921)  # fmt: skip
_DEVIATION = (2.8184, 1.4541, 2.3275, 2.6558, 1.2196, 1.7708, 2.6052, 2.0743,
              3.2687, 2.1526, 2.8652, 1.5579, 1.6382, 1.1253, 2.8251, 1.9160)  # fmt: skip

#: for each layer the last frames that went into it
Past = Dict[nn.Module, Tensor]


class CausalConv(nn.Conv3d):
    """A convolution over space and time that does not look ahead; zeros stand before the first frame."""

    def __init__(self, channels_in: int, channels_out: int, size: int) -> None:
        super().__init__(channels_in, channels_out, size, padding=(0, size // 2, size // 2), device="meta")

    def forward(self, x: Tensor, past: Past) -> Tensor:
        if self.kernel_size[0] == 1:
            return super().forward(x)
        return super().forward(with_past(self, x, past))


class TimeConv(nn.Conv3d):
    """A convolution over three frames."""

    def __init__(self, channels_in: int, channels_out: int, stride: int) -> None:
        super().__init__(channels_in, channels_out, (3, 1, 1), (stride, 1, 1), device="meta")


def with_past(layer: nn.Module, x: Tensor, past: Past) -> Tensor:
    """The frames with the two before them; remembers the last two for the next piece."""
    before = past.get(layer)
    if before is None:
        before = x.new_zeros(*x.shape[:2], 2, *x.shape[3:])
    whole = torch.cat((before, x), 2)
    past[layer] = whole[:, :, -2:].clone()
    return whole


class Norm(nn.Module):
    """RMSNorm over channels."""

    def __init__(self, channels: int, dimensions: int) -> None:
        super().__init__()
        self.gamma = parameter(channels, *[1] * dimensions)

    def forward(self, x: Tensor) -> Tensor:
        return functional.normalize(x, dim=1) * x.shape[1] ** 0.5 * self.gamma


class Residual(nn.Module):
    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__()
        self.residual = nn.Sequential(
            Norm(channels_in, 3), nn.SiLU(), CausalConv(channels_in, channels_out, 3),
            Norm(channels_out, 3), nn.SiLU(), nn.Identity(), CausalConv(channels_out, channels_out, 3),
        )  # fmt: skip
        self.shortcut = CausalConv(channels_in, channels_out, 1) if channels_in != channels_out else nn.Identity()

    def forward(self, x: Tensor, past: Past) -> Tensor:
        short = self.shortcut(x, past) if isinstance(self.shortcut, CausalConv) else x
        return run(self.residual, x, past) + short


class Attention(nn.Module):
    """Attention of one head, within each frame."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = Norm(channels, 2)
        self.to_qkv = nn.Conv2d(channels, 3 * channels, 1, device="meta")
        self.proj = nn.Conv2d(channels, channels, 1, device="meta")

    def forward(self, x: Tensor, past: Past) -> Tensor:
        frames = to_frames(x)
        q, k, v = self.to_qkv(self.norm(frames)).flatten(2).transpose(1, 2).unsqueeze(1).chunk(3, -1)
        seen = attention(q, k, v).squeeze(1).transpose(1, 2).reshape(frames.shape)
        return x + to_clip(self.proj(seen), x.shape[0])


class Up(nn.Module):
    """Twice the height and width, half the channels; with ``in_time`` also twice the frames, except the first one."""

    def __init__(self, channels: int, in_time: bool) -> None:
        super().__init__()
        self.resample = nn.Sequential(nn.Identity(), nn.Conv2d(channels, channels // 2, 3, padding=1, device="meta"))
        if in_time:
            self.time_conv = TimeConv(channels, 2 * channels, 1)
        self.in_time = in_time

    def forward(self, x: Tensor, past: Past) -> Tensor:
        if self.in_time:
            if self not in past:
                past[self] = x.new_zeros(0)  # the first frame stays one
            else:
                batch, channels, frames = x.shape[:3]
                pairs = self.time_conv(with_past(self.time_conv, x, past))
                pairs = pairs.view(batch, 2, channels, frames, *x.shape[3:])
                x = pairs.permute(0, 2, 3, 1, 4, 5).reshape(batch, channels, 2 * frames, *x.shape[3:])
        frames = to_frames(x)
        # In float32: older releases of PyTorch have no bf16 kernel for this.
        large = functional.interpolate(frames.float(), scale_factor=2.0, mode="nearest-exact").to(frames.dtype)
        return to_clip(self.resample(large), x.shape[0])


class Down(nn.Module):
    """Half the height and width; with ``in_time`` also half the frames, except the first one."""

    def __init__(self, channels: int, in_time: bool) -> None:
        super().__init__()
        convolution = nn.Conv2d(channels, channels, 3, 2, device="meta")
        self.resample = nn.Sequential(nn.ZeroPad2d((0, 1, 0, 1)), convolution)
        if in_time:
            self.time_conv = TimeConv(channels, channels, 2)
        self.in_time = in_time

    def forward(self, x: Tensor, past: Past) -> Tensor:
        x = to_clip(self.resample(to_frames(x)), x.shape[0])
        if not self.in_time:
            return x
        before = past.get(self)
        past[self] = x[:, :, -1:].clone()
        return x if before is None else self.time_conv(torch.cat((before, x), 2))


def to_frames(x: Tensor) -> Tensor:
    """[batch, channels, frames, height, width] as [batch * frames, channels, height, width]."""
    return x.transpose(1, 2).flatten(0, 1)


def to_clip(x: Tensor, batch: int) -> Tensor:
    """The inverse of ``to_frames``."""
    return x.unflatten(0, (batch, -1)).transpose(1, 2)


def run(layers: nn.Sequential, x: Tensor, past: Past) -> Tensor:
    """Runs layers, some of which look back in time."""
    for layer in layers:
        x = layer(x, past) if isinstance(layer, (CausalConv, Residual, Attention, Up, Down)) else layer(x)
    return x


def middle(channels: int) -> nn.Sequential:
    return nn.Sequential(Residual(channels, channels), Attention(channels), Residual(channels, channels))


def head(channels: int, channels_out: int) -> nn.Sequential:
    return nn.Sequential(Norm(channels, 3), nn.SiLU(), CausalConv(channels, channels_out, 3))


class Encoder(nn.Module):
    def __init__(self, width: int, latent: int) -> None:
        super().__init__()
        self.conv1 = CausalConv(3, width, 3)
        layers: List[nn.Module] = []
        channels = width
        for at, multiple in enumerate(_MULTIPLES):
            for _ in range(_BLOCKS):
                layers.append(Residual(channels, multiple * width))
                channels = multiple * width
            if at < len(_MULTIPLES) - 1:
                layers.append(Down(channels, in_time=at > 0))
        self.downsamples = nn.Sequential(*layers)
        self.middle = middle(channels)
        self.head = head(channels, 2 * latent)

    def forward(self, x: Tensor, past: Past) -> Tensor:
        x = run(self.downsamples, self.conv1(x, past), past)
        return run(self.head, run(self.middle, x, past), past)


class Decoder(nn.Module):
    def __init__(self, width: int, latent: int) -> None:
        super().__init__()
        channels = _MULTIPLES[-1] * width
        self.conv1 = CausalConv(latent, channels, 3)
        self.middle = middle(channels)
        layers: List[nn.Module] = []
        for at, multiple in enumerate(reversed(_MULTIPLES)):
            for _ in range(_BLOCKS + 1):
                layers.append(Residual(channels, multiple * width))
                channels = multiple * width
            if at < len(_MULTIPLES) - 1:
                layers.append(Up(channels, in_time=at < 2))
                channels //= 2
        self.upsamples = nn.Sequential(*layers)
        self.head = head(channels, 3)

    def forward(self, x: Tensor, past: Past) -> Tensor:
        x = run(self.middle, self.conv1(x, past), past)
        return run(self.head, run(self.upsamples, x, past), past)


class Vae(nn.Module):
    """The autoencoder. Clips are [batch, 3, frames, height, width] from -1 to 1, with 4 n + 1 frames."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.encoder = Encoder(shape.vae_width, shape.latent)
        self.conv1 = CausalConv(2 * shape.latent, 2 * shape.latent, 1)
        self.conv2 = CausalConv(shape.latent, shape.latent, 1)
        self.decoder = Decoder(shape.vae_width, shape.latent)

    def encode(self, clip: Tensor) -> Tensor:
        """The latent of a clip: [batch, 16, n + 1, height / 8, width / 8]."""
        past: Past = {}
        pieces = [clip[:, :, :1], *clip[:, :, 1:].split(4, 2)] if clip.shape[2] > 1 else [clip]
        found = torch.cat([self.encoder(piece, past) for piece in pieces], 2)
        mean, _ = self.conv1(found, past).chunk(2, 1)
        center, deviation = statistics(mean)
        return (mean - center) / deviation

    def decode(self, latent: Tensor) -> Iterator[Tensor]:
        """The clip of a latent, piece by piece: 1 frame, then 4 at a time."""
        center, deviation = statistics(latent)
        x = self.conv2(latent * deviation + center, {})
        past: Past = {}
        for piece in x.split(1, 2):
            yield self.decoder(piece, past).clamp(-1, 1)


def statistics(like: Tensor) -> "tuple[Tensor, Tensor]":
    """Mean and deviation of the channels of a latent, shaped to broadcast to it."""
    make = [torch.tensor(x, dtype=like.dtype, device=like.device) for x in (_MEAN, _DEVIATION)]
    return make[0].view(1, -1, 1, 1, 1), make[1].view(1, -1, 1, 1, 1)
