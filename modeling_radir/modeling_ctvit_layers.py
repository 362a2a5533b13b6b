"""The parts of the CTViT-type image tower: patches, position bias, and the layer of all its stages."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers.modeling_layers import GradientCheckpointingLayer

from .configuration_ctvit import RadIRCTViTConfig


class Layout(NamedTuple):
    """How the sequences of a stage lie in the volume of patches.

    Attributes:
        batch, frames, rows, cols: the volume's sizes, counted in patches.
        prefix: tokens in front of each sequence that have no place in the volume.
        time_last: whether the sequences' elements are to be read in the order (batch, row, column, frame);
            else (batch, frame, row, column).
    """

    batch: int
    frames: int
    rows: int
    cols: int
    prefix: int = 0
    time_last: bool = False


class RadIRPatchEmbedding(nn.Module):
    """Blocks of voxels to tokens; each block is standardised first, so absolute intensity hardly counts.

    Args:
        config: of the tower.
        depth: slices in a block; 1 for single frames.
    """

    def __init__(self, config: RadIRCTViTConfig, depth: int):
        super().__init__()
        self.block = (depth, config.patch_size, config.patch_size)
        voxels = config.num_channels * depth * config.patch_size**2
        self.voxel_norm = nn.LayerNorm(voxels, eps=config.layer_norm_eps)
        self.projection = nn.Linear(voxels, config.hidden_size)
        self.token_norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)

    def forward(self, pixel_values: Tensor) -> Tensor:
        """(B, Cin, D, H, W) to tokens (B, T, h, w, C)."""
        voxels = pixel_values
        for axis, size in zip((2, 4, 6), self.block, strict=True):
            voxels = voxels.unflatten(axis, (-1, size))  # (B, Cin, T, depth, h, patch, w, patch) at the end
        voxels = voxels.permute(0, 2, 4, 6, 1, 3, 5, 7).flatten(
            4
        )  # (B, T, h, w, Cin * depth * patch * patch)
        return self.token_norm(self.projection(self.voxel_norm(voxels)))


class RadIRContinuousPositionBias(nn.Module):
    """What the attention of one place of the grid on another gains, by their distance (as released)."""

    def __init__(self, config: RadIRCTViTConfig):
        super().__init__()
        self.first = nn.Linear(2, config.hidden_size)
        self.second = nn.Linear(config.hidden_size, config.hidden_size)
        self.heads = nn.Linear(config.hidden_size, config.num_attention_heads)

    def forward(self, rows: int, cols: int) -> Tensor:
        """Bias (heads, rows * cols, rows * cols), query by key, of a grid's places row by row.

        Each distance passes the network once: a grid of N places has N^2 pairs but fewer than 4 N distances.
        """
        weight = self.first.weight
        down = torch.arange(1 - rows, rows, device=weight.device, dtype=torch.float32)
        across = torch.arange(1 - cols, cols, device=weight.device, dtype=torch.float32)
        distance = torch.stack(torch.meshgrid(down, across, indexing="ij"), dim=-1).flatten(0, 1)  # (K, 2)
        distance = distance.sign() * distance.abs().log1p()
        inner = F.leaky_relu(self.first(distance.to(weight.dtype)), 0.1)
        by_distance = self.heads(F.leaky_relu(self.second(inner), 0.1))  # (K, heads)

        place = torch.arange(rows * cols, device=weight.device)
        y, x = place // cols, place % cols
        dy, dx = y[:, None] - y[None, :], x[:, None] - x[None, :]  # (N, N), query minus key
        which = (dy + rows - 1) * (2 * cols - 1) + dx + cols - 1  # (N, N), a row of by_distance
        pairs = by_distance.T.index_select(1, which.flatten())  # (heads, N * N)
        return pairs.unflatten(1, (rows * cols, rows * cols))  # (heads, N, N)


class RadIRPositionConvolution(nn.Module):
    """A depthwise 3 x 3 x 3 convolution, from which tokens learn where they lie."""

    def __init__(self, config: RadIRCTViTConfig):
        super().__init__()
        width, causal = config.hidden_size, config.causal_position_convolution
        self.frames_before = 2 if causal else 0
        padding = (0 if causal else 1, 1, 1)
        self.convolution = nn.Conv3d(width, width, kernel_size=3, padding=padding, groups=width)

    def forward(self, states: Tensor, layout: Layout) -> Tensor:
        """Sequences (N, L, C) without prefix, to the same shape."""
        batch, frames, rows, cols = layout[:4]
        if layout.time_last:
            volume = states.reshape(batch, rows, cols, frames, -1).permute(0, 4, 3, 1, 2)  # (B, C, T, h, w)
        else:
            volume = states.reshape(batch, frames, rows, cols, -1).permute(0, 4, 1, 2, 3)  # (B, C, T, h, w)
        if self.frames_before:
            volume = F.pad(volume, (0, 0, 0, 0, self.frames_before, 0))  # (B, C, 2 + T, h, w)
        out = self.convolution(volume)  # (B, C, T, h, w)
        order = (0, 3, 4, 2, 1) if layout.time_last else (0, 2, 3, 4, 1)
        return out.permute(order).reshape(states.shape)  # (N, L, C)


class RadIRCosineAttention(nn.Module):
    """Self-attention on cosines of queries and keys; only the queries see the normalised input."""

    def __init__(self, config: RadIRCTViTConfig):
        super().__init__()
        assert config.attention_scale is not None
        self.config = config
        self.scale = config.attention_scale
        inner = config.num_attention_heads * config.head_dim
        self.norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps, bias=False)
        self.query = nn.Linear(config.hidden_size, inner, bias=False)
        self.key_value = nn.Linear(config.hidden_size, 2 * inner, bias=False)
        self.output = nn.Linear(inner, config.hidden_size, bias=False)
        self.query_scale = nn.Parameter(torch.ones(config.head_dim))
        self.key_scale = nn.Parameter(torch.ones(config.head_dim))
        self.null_key_values = None
        if config.num_null_kv:  # a key, its value, the next key, ...
            shape = (config.num_attention_heads, 2 * config.num_null_kv, config.head_dim)
            self.null_key_values = nn.Parameter(torch.empty(shape))

    def forward(self, states: Tensor, bias: Tensor | None = None) -> Tensor:
        """(N, L, C) to (N, L, C), with bias (heads, L, L) on the logits."""
        query = self._split(self.query(self.norm(states)))  # (N, heads, L, head_dim)
        key, value = (self._split(part) for part in self.key_value(states).chunk(2, dim=-1))
        if self.null_key_values is not None:
            null = self.null_key_values.to(key.dtype).expand(states.shape[0], -1, -1, -1)  # (N, heads, 2n, d)
            key = torch.cat((null[:, :, 0::2], key), dim=2)  # (N, heads, n + L, head_dim)
            value = torch.cat((null[:, :, 1::2], value), dim=2)
            bias = None if bias is None else F.pad(bias, (self.config.num_null_kv, 0))  # (heads, L, n + L)
        query = (F.normalize(query, dim=-1) * self.query_scale).to(value.dtype)
        key = (F.normalize(key, dim=-1) * self.key_scale).to(value.dtype)
        bias = None if bias is None else bias.to(value.dtype)[None]  # (1, heads, L, n + L)
        if self.config._attn_implementation == "eager":
            logits = query @ key.transpose(-1, -2) * self.scale
            mixed = torch.softmax(logits if bias is None else logits + bias, dim=-1) @ value
        else:
            mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=bias, scale=self.scale)
        return self.output(mixed.transpose(1, 2).flatten(2))  # (N, L, C)

    def _split(self, states: Tensor) -> Tensor:
        return states.unflatten(-1, (self.config.num_attention_heads, -1)).transpose(1, 2)


class RadIRGatedFeedForward(nn.Module):
    """Norm, then a layer whose second half, through GELU, gates the first (GEGLU)."""

    def __init__(self, config: RadIRCTViTConfig):
        super().__init__()
        inner = config.intermediate_size
        assert inner is not None
        self.norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.widen = nn.Linear(config.hidden_size, 2 * inner, bias=False)
        self.narrow = nn.Linear(inner, config.hidden_size, bias=False)

    def forward(self, states: Tensor) -> Tensor:
        """(N, L, C) to (N, L, C)."""
        content, gate = self.widen(self.norm(states)).chunk(2, dim=-1)  # (N, L, inner) each
        return self.narrow(content * F.gelu(gate))


class RadIRCTViTLayer(GradientCheckpointingLayer):
    """Position convolution, attention and feed-forward, each added to what it read."""

    def __init__(self, config: RadIRCTViTConfig):
        super().__init__()
        self.position_convolution = RadIRPositionConvolution(config)
        self.attention = RadIRCosineAttention(config)
        self.feed_forward = RadIRGatedFeedForward(config)

    def forward(self, states: Tensor, layout: Layout, bias: Tensor | None = None) -> Tensor:
        """(N, prefix + L, C) to the same shape."""
        places = self.position_convolution(states[:, layout.prefix :], layout)
        if layout.prefix:
            places = F.pad(places, (0, 0, layout.prefix, 0))
        states = states + places
        states = states + self.attention(states, bias)
        return states + self.feed_forward(states)


class RadIRCTViTStage(nn.Module):
    """Layers, and a layer norm without bias after the last of them."""

    def __init__(self, config: RadIRCTViTConfig, num_layers: int):
        super().__init__()
        self.layers = nn.ModuleList(RadIRCTViTLayer(config) for _ in range(num_layers))
        self.norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps, bias=False)

    def forward(self, states: Tensor, layout: Layout, bias: Tensor | None = None) -> Tensor:
        """(N, prefix + L, C) to the same shape; bias (heads, L, L) is that of every layer."""
        for layer in self.layers:
            states = layer(states, layout, bias)
        return self.norm(states)
