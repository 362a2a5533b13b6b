"""A linear head for each condition: what `radir adapt` fits in closed form on any image encoder.

With x = B t + b, a shared basis of the tokens t of an image, all N * Cv of them in one vector, the whole
image has u = W_0 x + c_0 and condition a has v_a = W_a x + c_a, both centred over the training images. Each
is made a unit vector, and the feature under a joins them: [u, v_a] / sqrt(2). Whole images are [u, 0].
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import initialization as init

from .configuration_radir import RadIRConfig, RadIRFusionConfig
from .modeling_base import RadIRPreTrainedModel


class RadIRLinearFusionModel(RadIRPreTrainedModel):
    """Image tokens and conditions to features, by the head of the known condition nearest to each query.

    Args:
        config: with a fusion_config of kind "linear"; its hidden_size, d, is even.
        token_size: Cv, the width of the image tokens.
    """

    main_input_name = "tokens"
    config_class = RadIRFusionConfig  # type: ignore[assignment]
    config: RadIRFusionConfig  # type: ignore[assignment]

    def __init__(self, config: RadIRConfig, token_size: int):
        fusion = config.fusion_config
        super().__init__(fusion)
        half, basis = fusion.hidden_size // 2, fusion.basis_size
        self.basis = nn.Linear(fusion.num_tokens * token_size, basis)
        self.whole = nn.Linear(basis, half)
        self.heads = nn.Parameter(torch.zeros(fusion.num_conditions, half, basis))
        self.offsets = nn.Parameter(torch.zeros(fusion.num_conditions, half))
        self.queries = nn.Parameter(torch.zeros(fusion.num_conditions, fusion.hidden_size))
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if module is self:
            init.xavier_uniform_(self.heads)
            init.zeros_(self.offsets)
            init.xavier_uniform_(self.queries)

    def forward(self, tokens: Tensor, grid: tuple[int, int], queries: Tensor) -> Tensor:
        """Features under conditions.

        Args:
            tokens: (B, N, Cv) of RadIRVisionOutput, N = rows * cols.
            grid: (rows, cols).
            queries: (Q, d), un-normalised text latents; each is answered by the condition of the nearest one.

        Returns:
            (B, Q, d), L2-normalised.

        Raises:
            ValueError: if the shapes do not fit each other.
        """
        if queries.ndim != 2 or queries.shape[1] != self.config.hidden_size:
            raise ValueError(
                f"queries have the shape {tuple(queries.shape)}; (anatomies, {self.config.hidden_size}) is "
                "needed"
            )
        shared = self._shared(tokens)
        chosen = self.nearest(queries)
        own = torch.einsum("bp,qhp->bqh", shared, self.heads[chosen]) + self.offsets[chosen]  # (B, Q, d / 2)
        whole = F.normalize(self.whole(shared), dim=-1)[:, None].expand_as(own)
        return torch.cat((whole, F.normalize(own, dim=-1)), dim=-1) * 0.5**0.5

    def whole_images(self, tokens: Tensor) -> Tensor:
        """Features (B, d) of whole images, L2-normalised, from tokens (B, N, Cv)."""
        whole = F.normalize(self.whole(self._shared(tokens)), dim=-1)
        return torch.cat((whole, torch.zeros_like(whole)), dim=-1)

    def nearest(self, queries: Tensor) -> Tensor:
        """The places (Q,) of the known conditions whose text latents have the largest cosine with queries."""
        known = F.normalize(self.queries, dim=-1)
        return (F.normalize(queries.to(known.dtype), dim=-1) @ known.T).argmax(dim=1)

    def _shared(self, tokens: Tensor) -> Tensor:
        """(B, P)."""
        if tokens.ndim != 3 or tokens.shape[1] != self.config.num_tokens:
            raise ValueError(
                f"tokens have the shape {tuple(tokens.shape)}; (images, {self.config.num_tokens}, width) is "
                "needed: give images of the size that the heads were fitted on"
            )
        return self.basis(tokens.flatten(1))
