"""PMC-CLIP's image tower: a ResNet with three convolutions in front, average pooling for strides, and
attention pooling at the end. Modules are named as in the published checkpoint."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

EXPANSION = 4  # output channels of a block, by its inner ones


class Bottleneck(nn.Module):
    """1 x 1, 3 x 3 and 1 x 1 convolutions beside a shortcut; where the grid shrinks, both average first.

    Args:
        channels: of the input.
        inner: of the convolution in the middle.
        stride: 1, or 2 to halve the grid.
    """

    def __init__(self, channels: int, inner: int, stride: int) -> None:
        super().__init__()
        outer = inner * EXPANSION
        self.conv1, self.bn1 = nn.Conv2d(channels, inner, 1, bias=False), nn.BatchNorm2d(inner)
        self.conv2, self.bn2 = nn.Conv2d(inner, inner, 3, padding=1, bias=False), nn.BatchNorm2d(inner)
        self.conv3, self.bn3 = nn.Conv2d(inner, outer, 1, bias=False), nn.BatchNorm2d(outer)
        self.stride = stride
        self.downsample: nn.Sequential | None = None
        if stride > 1 or channels != outer:
            self.downsample = nn.Sequential(nn.Conv2d(channels, outer, 1, bias=False), nn.BatchNorm2d(outer))

    def forward(self, states: Tensor) -> Tensor:
        """(B, channels, H, W) to (B, 4 * inner, H / stride, W / stride)."""
        inner = F.relu(self.bn1(self.conv1(states)))
        inner = F.relu(self.bn2(self.conv2(inner)))
        if self.stride > 1:
            inner, states = F.avg_pool2d(inner, self.stride), F.avg_pool2d(states, self.stride)
        shortcut = states if self.downsample is None else self.downsample(states)
        return F.relu(self.bn3(self.conv3(inner)) + shortcut)


class AttentionPool(nn.Module):
    """One query, the mean of all places, attends to itself and to the places.

    Args:
        places: of the grid.
        channels: of each place.
        width: of the result.
        heads: of the attention. The tensors' shapes do not depend on it, the result does.
    """

    def __init__(self, places: int, channels: int, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.positional_embedding = nn.Parameter(torch.empty(places + 1, channels))
        self.q_proj, self.k_proj = nn.Linear(channels, channels), nn.Linear(channels, channels)
        self.v_proj, self.c_proj = nn.Linear(channels, channels), nn.Linear(channels, width)

    def forward(self, grid: Tensor) -> Tensor:
        """(B, channels, H, W) to (B, width)."""
        places = grid.flatten(2).transpose(1, 2)  # (B, N, channels)
        tokens = torch.cat((places.mean(dim=1, keepdim=True), places), dim=1) + self.positional_embedding
        query = self._split(self.q_proj(tokens[:, :1]))  # (B, heads, 1, channels / heads)
        key, value = self._split(self.k_proj(tokens)), self._split(self.v_proj(tokens))
        pooled = F.scaled_dot_product_attention(query, key, value)
        return self.c_proj(pooled.transpose(1, 2).flatten(1))

    def _split(self, states: Tensor) -> Tensor:
        return states.unflatten(-1, (self.heads, -1)).transpose(1, 2)


class ModifiedResNet(nn.Module):
    """Images to features.

    Args:
        layers: blocks of the four stages.
        width: channels before the first stage.
        embed_dim: width of the features.
        places: of the last grid, from which the pooling gathers.
        heads: of the pooling.
    """

    def __init__(self, layers: Sequence[int], width: int, embed_dim: int, places: int, heads: int) -> None:
        super().__init__()
        half = width // 2
        self.conv1, self.bn1 = nn.Conv2d(3, half, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(half)
        self.conv2, self.bn2 = nn.Conv2d(half, half, 3, padding=1, bias=False), nn.BatchNorm2d(half)
        self.conv3, self.bn3 = nn.Conv2d(half, width, 3, padding=1, bias=False), nn.BatchNorm2d(width)
        channels = width
        for number, count in enumerate(layers, start=1):
            inner = width * 2 ** (number - 1)
            blocks = []
            for position in range(count):
                blocks.append(Bottleneck(channels, inner, 2 if number > 1 and position == 0 else 1))
                channels = inner * EXPANSION
            self.add_module(f"layer{number}", nn.Sequential(*blocks))
        self.attnpool = AttentionPool(places, channels, embed_dim, heads)

    def stem(self, pixels: Tensor) -> Tensor:
        """(B, 3, H, W) to (B, width, H / 4, W / 4)."""
        states = F.relu(self.bn1(self.conv1(pixels)))
        states = F.relu(self.bn2(self.conv2(states)))
        return F.avg_pool2d(F.relu(self.bn3(self.conv3(states))), 2)

    def stages(self, states: Tensor) -> Tensor:
        """(B, width, H / 4, W / 4) to (B, 32 * width, H / 32, W / 32)."""
        for number in range(1, 5):
            states = self.get_submodule(f"layer{number}")(states)
        return states

    def forward(self, pixels: Tensor) -> Tensor:
        """(B, 3, H, W) to (B, embed_dim)."""
        return self.attnpool(self.stages(self.stem(pixels)))
