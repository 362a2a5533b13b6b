"""RadIR: images and reports in one space (paper, 4.1), and images conditioned on an anatomy (paper, 4.2)."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers import initialization as init
from transformers.utils import ModelOutput

from .configuration_radir import RadIRConfig, check_anatomies
from .losses import ConditionalLoss, UnconditionalLoss
from .modeling_base import RadIRPreTrainedModel, load_tower
from .modeling_centre import RadIRCentre
from .modeling_fusion import RadIRFusionModel
from .modeling_linear_fusion import RadIRLinearFusionModel
from .modeling_text import RadIRTextModel
from .modeling_vision import RadIRVisionModel, RadIRVisionOutput


@dataclass
class RadIROutput(ModelOutput):
    """What a forward pass gives; what was not asked for is None.

    As a tuple it begins with what was asked for, in this order, so that transformers' pipeline
    "image-feature-extraction" answers with image_embeds, or with pooler_output where it is told to pool. For
    images alone all parts have a row for each image, as its batches need.

    Attributes:
        loss: () float32, the objective of the stages whose relevance was given, added up.
        image_embeds: (B, d), L2-normalised features of whole images.
        text_embeds: (T, d), L2-normalised features of reports.
        conditional_embeds: (B, Q, d), L2-normalised features of images as far as each anatomy goes.
        logits_per_image: (B, T), cosines times the logit scale.
        logits_per_text: (T, B), its transpose.
        logit_scale: (), the factor on cosines, as UnconditionalLoss takes it; given where texts are.
        last_hidden_state: (B, N, Cv), the image tower's tokens; encode_image also tells their grid.
        pooler_output: (B, Cv), the image tower's feature of whole images, before its projection.
    """

    loss: Tensor | None = None
    image_embeds: Tensor | None = None
    text_embeds: Tensor | None = None
    conditional_embeds: Tensor | None = None
    logits_per_image: Tensor | None = None
    logits_per_text: Tensor | None = None
    logit_scale: Tensor | None = None
    last_hidden_state: Tensor | None = None
    pooler_output: Tensor | None = None


class RadIRModel(RadIRPreTrainedModel):
    """Two towers, two projections, and the fusion between them if config.fusion_config is given.

    Parameters that matter to a training stage lie under vision_model, text_model, visual_projection,
    text_projection, logit_scale (stage 1) and fusion_model (stage 2).
    """

    def __init__(self, config: RadIRConfig):
        super().__init__(config)
        self.vision_model = RadIRVisionModel(config)
        self.text_model = RadIRTextModel(config)
        width, fusion = self.vision_model.hidden_size, config.fusion_config
        self.visual_projection = None
        if fusion is None or fusion.kind != "linear":  # whose whole-image head stands in its place
            self.visual_projection = nn.Linear(width, config.projection_dim, bias=False)
        self.text_projection = nn.Linear(self.text_model.hidden_size, config.projection_dim, bias=False)
        self.logit_scale = nn.Parameter(torch.tensor(float(config.logit_scale_init_value)))
        self.fusion_model: Any = None
        if fusion is not None:
            kinds = {"attention": RadIRFusionModel, "linear": RadIRLinearFusionModel}
            self.fusion_model = kinds[fusion.kind](config, width)
        self.centre: RadIRCentre | None = RadIRCentre(config) if config.centred else None
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if module is self:
            init.constant_(self.logit_scale, self.config.logit_scale_init_value)

    @classmethod
    def from_encoders(
        cls,
        vision: "str | os.PathLike[str] | PreTrainedModel",
        text: "str | os.PathLike[str] | PreTrainedModel",
        **config_arguments: Any,
    ) -> "RadIRModel":
        """A model on pretrained towers; projections and fusion start at random.

        Args:
            vision: a Hub id or folder that AutoModel or RadIRCTViTModel loads, or a loaded tower.
            text: the same for a BERT-like encoder.
            config_arguments: the other arguments of RadIRConfig.

        Raises:
            ValueError: if RadIRConfig refuses the towers or arguments.
        """
        towers = [load_tower(tower) for tower in (vision, text)]
        config = RadIRConfig(vision_config=towers[0].config, text_config=towers[1].config, **config_arguments)
        model = cls(config)
        # Attached only now: loading in __init__ would run again, on meta tensors, at every from_pretrained.
        model.vision_model.tower, model.text_model.tower = towers
        return model.eval()

    def set_anatomies(self, names: Sequence[str], tokenizer: Any) -> None:
        """Keep the token ids of anatomy names in the config, so that asking by name needs no tokenizer.

        Args:
            names: all the anatomies that the model shall know; earlier ones are forgotten.
            tokenizer: the text tower's.
        """
        anatomies = {name: [int(i) for i in tokenizer(name)["input_ids"]] for name in names}
        check_anatomies(anatomies, getattr(self.config.text_config, "vocab_size", None))
        self.config.anatomies = anatomies

    def encode_image(self, pixel_values: Tensor, pool: bool = True) -> RadIRVisionOutput:
        """Encode images (B, C, H, W), or volumes (B, C, D, H, W), once, for all that is asked about them.

        Conditional features need no pooling; without it, pooled is None.
        """
        return self.vision_model(pixel_values, pool=pool)

    def encode_anatomies(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        """Queries of the fusion: text latents (Q, d), not normalised, of anatomy names (Q, L)."""
        return self.text_projection(self.text_model(input_ids, attention_mask))

    def fuse(self, tokens: Tensor, grid: tuple[int, int], queries: Tensor) -> Tensor:
        """Image tokens (B, N, Cv) on a grid and queries (Q, d) to (B, Q, d), L2-normalised (eq. 8).

        Centred by the means that the model keeps, if it keeps any; in training mode the losses see them raw.

        Raises:
            ValueError: if the model has no fusion, or the shapes do not fit.
        """
        if self.fusion_model is None:
            raise ValueError(
                "this model has no fusion (fusion_config is None), so it compares whole images only: ask "
                "without an anatomy, or load a model that was trained in stage 2"
            )
        fused = self.fusion_model(tokens, grid, queries)
        return fused if self.centre is None or self.training else self.centre.conditional(fused, queries)

    def get_image_features(self, pixel_values: Tensor) -> Tensor:
        """Features (B, d) of whole images (B, C, H, W) or volumes (B, C, D, H, W), L2-normalised."""
        return self.project_image(self.encode_image(pixel_values))

    def get_text_features(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        """Features (T, d) of texts (T, L), L2-normalised."""
        text = F.normalize(self.encode_anatomies(input_ids, attention_mask), dim=-1)
        return text if self.centre is None or self.training else self.centre.text(text)

    def get_conditional_features(
        self,
        pixel_values: Tensor,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        anatomy: str | Sequence[str] | None = None,
        queries: Tensor | None = None,
    ) -> Tensor:
        """Features of images as far as anatomies go, each image encoded once.

        Args:
            pixel_values: (B, C, H, W), or (B, C, D, H, W) where the tower takes volumes, float.
            input_ids: (Q, L), tokens of the anatomy names; or
            anatomy: the name or the Q names of anatomies known to the config; or
            queries: (Q, d), of encode_anatomies, which names need only once for many batches.
            attention_mask: (Q, L), of input_ids.

        Returns:
            (B, Q, d), L2-normalised; Q = 1 for a single name.

        Raises:
            ValueError: if an anatomy is not known, or not exactly one of the three is given.
        """
        if sum(given is None for given in (input_ids, anatomy, queries)) != 2:
            raise ValueError(
                "give either input_ids (tokens of the anatomy names), anatomy (names) or queries (names that "
                "are encoded already), one of the three"
            )
        if anatomy is not None:
            input_ids, attention_mask = self.anatomy_tokens(anatomy)
        if queries is None:
            assert input_ids is not None
            queries = self.encode_anatomies(input_ids, attention_mask)
        vision = self.encode_image(pixel_values, pool=False)
        return self.fuse(vision.tokens, vision.grid, queries)

    def forward(
        self,
        pixel_values: Tensor | None = None,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        anatomy_input_ids: Tensor | None = None,
        anatomy_attention_mask: Tensor | None = None,
        relevance: Tensor | None = None,
        conditional_relevance: Tensor | None = None,
        conditional_mask: Tensor | None = None,
        return_loss: bool | None = None,
        **kwargs: Any,
    ) -> RadIROutput:
        """All that the given inputs allow; each image is encoded once.

        The loss is that of this process's batch. To train on the batch of all processes, gather the
        embeddings with gather_with_gradient and call the losses.

        Args:
            pixel_values: (B, C, H, W), or (B, C, D, H, W) where the tower takes volumes, float.
            input_ids, attention_mask: (T, L), reports; T = B and in the images' order for a loss.
            anatomy_input_ids, anatomy_attention_mask: (Q, L), anatomy names.
            relevance: (B, B), T of eq. 6; NaN where unknown.
            conditional_relevance: (Q, B, B), T_Q of eq. 9; NaN where unknown.
            conditional_mask: (Q, B, B) bool, False for pairs to leave out.
            return_loss: None: if relevance is given. True without any: each image's own report is its only
                positive, which is CLIP's loss.

        Raises:
            ValueError: if inputs are missing for what is asked, or shapes do not fit.
        """
        names = (anatomy_input_ids, anatomy_attention_mask)
        output = self._features(pixel_values, (input_ids, attention_mask), names)
        if return_loss is None:
            return_loss = relevance is not None or conditional_relevance is not None
        if return_loss:
            loss = self._loss(output, relevance, conditional_relevance, conditional_mask)
            return RadIROutput(loss=loss, **output)
        return output

    def _features(
        self,
        pixel_values: Tensor | None,
        texts: tuple[Tensor | None, Tensor | None],
        names: tuple[Tensor | None, Tensor | None],
    ) -> RadIROutput:
        """All but the loss; texts and names are token ids with their mask."""
        vision = image = conditional = text = logits = logit_scale = None
        if pixel_values is not None:
            vision = self.encode_image(pixel_values)
            image = self.project_image(vision)
            if names[0] is not None:
                queries = self.encode_anatomies(names[0], names[1])
                conditional = self.fuse(vision.tokens, vision.grid, queries)
        elif names[0] is not None:
            raise ValueError("conditional features need images: give pixel_values beside anatomy_input_ids")
        if texts[0] is not None:
            text, logit_scale = self.get_text_features(texts[0], texts[1]), self.logit_scale.exp()
            logits = None if image is None else logit_scale * image @ text.T
        return RadIROutput(
            image_embeds=image,
            text_embeds=text,
            conditional_embeds=conditional,
            logits_per_image=logits,
            logits_per_text=None if logits is None else logits.T,
            logit_scale=logit_scale,
            last_hidden_state=None if vision is None else vision.tokens,
            pooler_output=None if vision is None else vision.pooled,
        )

    def _loss(
        self,
        output: RadIROutput,
        relevance: Tensor | None,
        conditional_relevance: Tensor | None,
        conditional_mask: Tensor | None,
    ) -> Tensor:
        terms = []
        if relevance is not None or conditional_relevance is None:
            image, text = output.image_embeds, output.text_embeds
            if image is None or text is None:
                raise ValueError(
                    "the unconditional loss compares images and reports: give pixel_values and input_ids"
                )
            unconditional = UnconditionalLoss()
            if relevance is None:  # CLIP: no image resembles another
                unconditional = UnconditionalLoss((0.5, 0.5, 0.0))
                relevance = torch.eye(len(image), device=image.device)
            terms.append(unconditional(image, text, output.logit_scale, relevance))
        if conditional_relevance is not None:
            if output.conditional_embeds is None:
                raise ValueError("the conditional loss needs pixel_values and anatomy_input_ids: give both")
            fused = output.conditional_embeds.transpose(0, 1)  # (Q, B, d)
            similarity = fused @ fused.transpose(1, 2)  # (Q, B, B), S_f2f of eq. 9
            terms.append(ConditionalLoss()(similarity, conditional_relevance, conditional_mask))
        return torch.stack(terms).sum()

    def project_image(self, vision: RadIRVisionOutput) -> Tensor:
        """Features (B, d) of whole images, L2-normalised, from their encoding.

        Raises:
            ValueError: if they were encoded without pooling.
        """
        whole = self._project_image(vision)
        return whole if self.centre is None or self.training else self.centre.whole(whole)

    def _project_image(self, vision: RadIRVisionOutput) -> Tensor:
        """The same before centring."""
        if self.visual_projection is None:
            return self.fusion_model.whole_images(vision.tokens)
        if vision.pooled is None:
            raise ValueError("these images were encoded with pool=False: encode them with pool=True")
        return F.normalize(self.visual_projection(vision.pooled), dim=-1)

    def anatomy_tokens(self, anatomy: str | Sequence[str]) -> tuple[Tensor, Tensor]:
        """Padded token ids and mask, (Q, L) int64 each, of one or Q known anatomies.

        Raises:
            ValueError: if one is not known (the nearest names are given), or none is given.
        """
        ids = [self.config.token_ids(name) for name in ([anatomy] if isinstance(anatomy, str) else anatomy)]
        if not ids:
            raise ValueError("no anatomy was given: the list of names is empty")
        longest = max(len(row) for row in ids)
        padding = getattr(self.config.text_config, "pad_token_id", None) or 0
        input_ids = torch.tensor(
            [list(row) + [padding] * (longest - len(row)) for row in ids], device=self.device
        )
        mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in ids], device=self.device)
        return input_ids, mask
