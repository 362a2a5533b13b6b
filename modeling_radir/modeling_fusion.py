"""The fusion of image tokens and anatomy queries (paper, eq. 8): a decoder with cross-attention only.

Keys and values depend on the image alone, so each layer projects them once per image, for all queries.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers.activations import ACT2FN
from transformers.modeling_layers import GradientCheckpointingLayer

from .configuration_radir import RadIRConfig, RadIRFusionConfig
from .modeling_base import RadIRPreTrainedModel


def sine_positions(
    grid: tuple[int, int], dim: int, device: torch.device | None = None, layout: str = "interleaved"
) -> Tensor:
    """Sine positions of a grid, (rows * cols, dim) float32, row by row.

    The first half of the channels tells the row y, the second half the column x; in each half of width h,
    channel 2i is sin(y f_i) and channel 2i + 1 is cos(y f_i), with f_i = 10000^(-2i / h), in the layout
    "interleaved"; "concatenated" has sin(y f_i) in channel i and cos(y f_i) in channel h / 2 + i. h is
    dim / 2, rounded up to an even number; channels beyond dim are cut off.

    It is computed at each call: any grid fits, and no buffer has to be restored when a model is loaded.
    """
    axis = -1 if layout == "interleaved" else -2
    half = 2 * ((dim + 3) // 4)
    exponents = torch.arange(0, half, 2, device=device, dtype=torch.float32) / half
    frequencies = torch.pow(10000.0, -exponents)  # (h / 2,)

    def encode(count: int) -> Tensor:
        angles = torch.arange(count, device=device, dtype=torch.float32)[:, None] * frequencies
        return torch.stack((angles.sin(), angles.cos()), dim=axis).flatten(1)  # (count, h)

    rows, cols = grid
    down = encode(rows)[:, None].expand(rows, cols, half)
    across = encode(cols)[None, :].expand(rows, cols, half)
    return torch.cat((down, across), dim=-1).flatten(0, 1)[:, :dim]  # (rows * cols, dim)


class RadIRCrossAttention(nn.Module):
    """Multi-head attention from queries (B, Q, d) to keys and values (B, N, d)."""

    def __init__(self, config: RadIRFusionConfig):
        super().__init__()
        self.config = config
        self.num_heads = config.num_attention_heads
        self.dropout = config.dropout
        self.query = nn.Linear(config.hidden_size, config.hidden_size)
        self.key = nn.Linear(config.hidden_size, config.hidden_size)
        self.value = nn.Linear(config.hidden_size, config.hidden_size)
        self.output = nn.Linear(config.hidden_size, config.hidden_size)

    def forward(self, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """(B, Q, d), (B, N, d), (B, N, d) -> (B, Q, d)."""
        value = self._split(self.value(values))  # (B, heads, N, d / heads)
        dropout = self.dropout if self.training else 0.0
        if self.config._attn_implementation == "eager":
            mixed = F.dropout(self.weights(queries, keys), dropout) @ value
        else:
            query, key = self._split(self.query(queries)), self._split(self.key(keys))
            mixed = F.scaled_dot_product_attention(query, key, value, dropout_p=dropout)
        return self.output(mixed.transpose(1, 2).flatten(2))  # (B, Q, d)

    def weights(self, queries: Tensor, keys: Tensor) -> Tensor:
        """The share of each key in what a query gets, (B, heads, Q, N), from (B, Q, d) and (B, N, d)."""
        query = self._split(self.query(queries))  # (B, heads, Q, d / heads)
        key = self._split(self.key(keys))  # (B, heads, N, d / heads)
        return torch.softmax(query @ key.transpose(-1, -2) * query.shape[-1] ** -0.5, dim=-1)

    def _split(self, states: Tensor) -> Tensor:
        return states.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)


class RadIRFusionLayer(GradientCheckpointingLayer):
    """Pre-norm cross-attention and feed-forward; keys carry positions, values do not."""

    def __init__(self, config: RadIRFusionConfig):
        super().__init__()
        self.attention_norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.attention = RadIRCrossAttention(config)
        self.feed_forward_norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.widen = nn.Linear(config.hidden_size, config.intermediate_size)
        self.activation = ACT2FN[config.hidden_act]
        self.narrow = nn.Linear(config.intermediate_size, config.hidden_size)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """(B, Q, d), (B, N, d), (B, N, d) -> (B, Q, d)."""
        attended = self.attention(self.attention_norm(queries), keys, values)
        queries = queries + self.dropout(attended)
        inner = self.dropout(self.activation(self.widen(self.feed_forward_norm(queries))))
        return queries + self.dropout(self.narrow(inner))


class RadIRFusionModel(RadIRPreTrainedModel):
    """Image tokens and anatomy queries to one feature for each image and anatomy.

    Args:
        config: with a fusion_config.
        token_size: Cv, the width of the image tokens. Tokens of another width than d pass a linear layer.
    """

    main_input_name = "tokens"
    # The part of the configuration that it is for: so transformers finds whose attention it may choose.
    config_class = RadIRFusionConfig  # type: ignore[assignment]
    config: RadIRFusionConfig  # type: ignore[assignment]

    def __init__(self, config: RadIRConfig, token_size: int):
        fusion = config.fusion_config
        super().__init__(fusion)
        same = token_size == fusion.hidden_size
        self.memory_projection = nn.Identity() if same else nn.Linear(token_size, fusion.hidden_size)
        self.layers = nn.ModuleList(RadIRFusionLayer(fusion) for _ in range(fusion.num_hidden_layers))
        self.norm = nn.LayerNorm(fusion.hidden_size, eps=fusion.layer_norm_eps)
        self.projection = nn.Linear(fusion.hidden_size, config.projection_dim, bias=False)
        self.post_init()

    @classmethod
    def _can_set_attn_implementation(cls) -> bool:
        return True  # each forward pass asks the configuration

    def forward(self, tokens: Tensor, grid: tuple[int, int], queries: Tensor) -> Tensor:
        """Fuse.

        Args:
            tokens: (B, N, Cv) of RadIRVisionOutput, N = rows * cols.
            grid: (rows, cols).
            queries: (Q, d), un-normalised text latents of the anatomies.

        Returns:
            (B, Q, d), L2-normalised.

        Raises:
            ValueError: if the shapes do not fit each other.
        """
        if tokens.ndim != 3 or tokens.shape[1] != grid[0] * grid[1]:
            raise ValueError(
                f"tokens have the shape {tuple(tokens.shape)}, which is not (images, {grid} tokens, width)"
            )
        if queries.ndim != 2 or queries.shape[1] != self.config.hidden_size:
            raise ValueError(
                f"queries have the shape {tuple(queries.shape)}; (anatomies, {self.config.hidden_size}) is "
                "needed"
            )
        values = self.memory_projection(tokens)  # (B, N, d)
        layout = self.config.position_layout
        positions = sine_positions(grid, values.shape[-1], values.device, layout).to(values.dtype)
        keys = values + positions  # (B, N, d)
        fused = queries.to(values.dtype).expand(tokens.shape[0], -1, -1)  # (B, Q, d)
        for layer in self.layers:
            fused = layer(fused, keys, values)
        return F.normalize(self.projection(self.norm(fused)), dim=-1)
