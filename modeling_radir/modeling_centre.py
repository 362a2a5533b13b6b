"""Features relative to their means: what all images have in common under an anatomy tells none from another.

Trained features lie in a narrow cone, and images that show nothing lie near its axis, near to every other
one. With mu_a, the mean of the features f_a of training images under anatomy a, images are ranked by the
cosines of f_a - mu_a; whole images and reports likewise, by means of their own.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from .configuration_radir import RadIRConfig
from .modeling_base import RadIRPreTrainedModel


class RadIRCentre(RadIRPreTrainedModel):
    """The means of a model's features over training images, and what is left without them.

    Buffers: `images` and `texts` (d,), of whole images and of reports; `conditions` (A, d), of the features
    under each known anatomy; `queries` (A, d), the text latents by which an anatomy is known again.
    """

    images: Tensor
    texts: Tensor
    conditions: Tensor
    queries: Tensor

    def __init__(self, config: RadIRConfig):
        super().__init__(config)
        rows, width = len(config.anatomies), config.projection_dim
        for name, shape in (("images", (width,)), ("texts", (width,)), ("conditions", (rows, width)),
                            ("queries", (rows, width))):  # fmt: skip
            self.register_buffer(name, torch.zeros(shape))
        self.post_init()

    def whole(self, features: Tensor) -> Tensor:
        """Features (B, d) of whole images without their mean, L2-normalised."""
        return F.normalize(features - self.images.to(features.dtype), dim=-1)

    def text(self, features: Tensor) -> Tensor:
        """Features (T, d) of reports without their mean, L2-normalised."""
        return F.normalize(features - self.texts.to(features.dtype), dim=-1)

    def conditional(self, features: Tensor, queries: Tensor) -> Tensor:
        """Features (B, Q, d) under anatomies without their means, L2-normalised.

        Args:
            features: (B, Q, d).
            queries: (Q, d), text latents of the anatomies; that of a name which the model does not know takes
                the mean of the known one nearest to it.
        """
        known, asked = (F.normalize(x.float(), dim=-1) for x in (self.queries, queries))
        means = self.conditions[(asked @ known.T).argmax(dim=1)]  # (Q, d)
        return F.normalize(features - means.to(features.dtype), dim=-1)
