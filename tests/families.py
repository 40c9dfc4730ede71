"""Tiny networks of timm's families for ``--arch families:vit`` and the like; none has batch norm.

But for MobileNet, which cannot be had without it.
"""

import torch
from timm.models._efficientnet_builder import decode_arch_def
from timm.models.convnext import ConvNeXt
from timm.models.mobilenetv3 import MobileNetV3
from timm.models.vision_transformer import VisionTransformer
from torch import nn


def vit(channels, classes, size=16, **more):
    """Sixteen tokens, a class token, three blocks, and dropout."""
    return VisionTransformer(
        img_size=size,
        patch_size=size // 4,
        in_chans=channels,
        num_classes=classes,
        embed_dim=24,
        depth=3,
        num_heads=2,
        mlp_ratio=2,
        drop_rate=0.1,
        **more,
    )


def convnext(channels, classes):
    """Scales per channel, which no module can draw anew, and stochastic depth."""
    return ConvNeXt(
        in_chans=channels,
        num_classes=classes,
        depths=(1, 1, 1, 1),
        dims=(8, 16, 16, 24),
        patch_size=1,
        drop_path_rate=0.1,
    )


def mobilenet(channels, classes):
    """A depthwise block with squeeze-and-excitation and an inverted residual."""
    return MobileNetV3(
        decode_arch_def([["ds_r1_k3_s1_e1_c8_se0.25_nre"], ["ir_r1_k3_s2_e2_c16"]]),
        in_chans=channels,
        num_classes=classes,
        stem_size=8,
        num_features=24,
        drop_rate=0.1,
    )


class Tied(nn.Module):
    """One convolution that runs twice under two names, frozen ones before it, and dropout."""

    def __init__(self, channels, classes):
        super().__init__()
        self.stem = nn.Conv2d(channels, 8, 3, padding=1).requires_grad_(False)
        self.first, self.second = (nn.Conv2d(8, 8, 3, padding=1, bias=False) for _ in range(2))
        self.second.weight = self.first.weight
        self.drop, self.out = nn.Dropout(0.2), nn.Linear(8, classes)

    def forward(self, images):
        maps = self.second(self.first(self.stem(images).relu()).relu()).relu()
        return self.out(self.drop(maps.amax((2, 3))))


class Encoder(nn.Module):
    """As one writes it with torch alone: no class token, the tokens pooled."""

    def __init__(self, channels, classes):
        super().__init__()
        self.patches = nn.Conv2d(channels, 24, 4, stride=4)
        self.positions = nn.Parameter(torch.randn(1, 16, 24) * 0.02)
        layer = nn.TransformerEncoderLayer(24, 2, 48, batch_first=True, norm_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.out = nn.Linear(24, classes)

    def forward(self, images):
        tokens = self.patches(images).flatten(2).transpose(1, 2)
        return self.out(self.encoder(tokens + self.positions).mean(1))
