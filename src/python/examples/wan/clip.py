"""The vision tower of CLIP ViT-H/14: encodes a picture as 257 tokens.

Invariant: names and shapes of its parameters are those that begin with "visual." in
models_clip_open-clip-xlm-roberta-large-vit-huge-14.pth. Wan reads the output of the last layer but one.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from ..tools import Tensor, attention, linear, parameter
from .shape import CLIP_PATCH, Shape

_MEAN = (0.48145466, 0.4578275, 0.40821073)
_DEVIATION = (0.26862954, 0.26130258, 0.27577711)


class Attention(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.to_qkv = linear(width, 3 * width)
        self.proj = linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        batch, tokens, width = x.shape
        q, k, v = self.to_qkv(x).view(batch, tokens, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        return self.proj(attention(q, k, v).transpose(1, 2).reshape(batch, tokens, width))


class Block(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, device="meta")
        self.attn = Attention(width, heads)
        self.norm2 = nn.LayerNorm(width, device="meta")
        self.mlp = nn.Sequential(linear(width, 4 * width), nn.GELU(), linear(4 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class VisionTower(nn.Module):
    """The tower."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        width = shape.clip_width
        self.image = shape.clip_image
        self.patch_embedding = nn.Conv2d(3, width, CLIP_PATCH, CLIP_PATCH, bias=False, device="meta")
        self.cls_embedding = parameter(1, 1, width)
        self.pos_embedding = parameter(1, shape.clip_tokens, width)
        self.pre_norm = nn.LayerNorm(width, device="meta")
        self.transformer = nn.Sequential(*[Block(width, shape.clip_heads) for _ in range(shape.clip_layers)])
        # In the checkpoint, but unused: Wan reads the output of the layer before.
        self.post_norm = nn.LayerNorm(width, device="meta")
        self.head = parameter(width, shape.clip_out)

    def forward(self, picture: Tensor) -> Tensor:
        """Encodes pictures, [batch, 3, height, width] from -1 to 1; returns [batch, patches + 1, width]."""
        small = functional.interpolate(picture.float(), (self.image, self.image), mode="bicubic", align_corners=False)
        mean, deviation = (torch.tensor(x, device=picture.device).view(3, 1, 1) for x in (_MEAN, _DEVIATION))
        x = ((small / 2 + 0.5 - mean) / deviation).to(self.patch_embedding.weight.dtype)
        x = self.patch_embedding(x).flatten(2).transpose(1, 2)
        x = torch.cat((self.cls_embedding.expand(x.shape[0], -1, -1), x), 1) + self.pos_embedding
        return self.transformer[:-1](self.pre_norm(x))
