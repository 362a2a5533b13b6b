"""PMC-CLIP: its published checkpoint, of which the two towers and the text projection are used."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from transformers import BertModel

from radir_eval.baselines.base import unit
from radir_eval.baselines.bert import POSITION_IDS, bert_config, tokenize
from radir_eval.baselines.from_file import FileBaseline
from radir_eval.baselines.images import as_pil, clip_pixels
from radir_eval.baselines.pmcclip_resnet import ModifiedResNet
from radir_eval.baselines.weights import Published, Shape, count_layers, dimension

PUBLISHED = Published(
    ("checkpoint.pt", "checkpoint.safetensors"),
    "datasets/axiong/pmc_oa_beta",
    "download checkpoint.pt of the Hub's data set axiong/pmc_oa_beta, and give its path",
)
_OTHER_PARTS = "of the fusion with masked words, which no embedding passes"
DROPPABLE = MappingProxyType(
    {
        r"logit_scale": "a factor on all similarities alike",
        r"positional_embedding|img_special_token|mlm_projection": _OTHER_PARTS,
        r"ln_final\..*|fusion_module\..*": _OTHER_PARTS,
        POSITION_IDS[0]: POSITION_IDS[1],
    }
)


class PMCCLIPModel(nn.Module):
    """Both towers, with sizes from the checkpoint's shapes.

    Args:
        shapes: of the checkpoint's tensors, by key.
        source: the checkpoint's name in errors.
        image_heads: of the attention pooling. None: as the repository builds it, half the width before the
            first stage, so 32.
        text_heads: of the BERT. None: one for each 64 of its width.
    """

    def __init__(
        self,
        shapes: Mapping[str, Shape],
        source: Path | str,
        image_heads: int | None = None,
        text_heads: int | None = None,
    ) -> None:
        super().__init__()
        width = dimension(shapes, "visual.conv3.weight", 0, source)
        places = dimension(shapes, "visual.attnpool.positional_embedding", 0, source) - 1
        embed_dim = dimension(shapes, "visual.attnpool.c_proj.weight", 0, source)
        layers = [count_layers(shapes, f"visual.layer{number}.") for number in range(1, 5)]
        self.visual = ModifiedResNet(layers, width, embed_dim, places, image_heads or width // 2)
        self.text_config = bert_config(shapes, "text_encoder.", source, text_heads)
        self.text_encoder = BertModel(self.text_config)
        self.text_projection = nn.Parameter(torch.empty(self.text_config.hidden_size, embed_dim))

    def encode_ids(self, input_ids: Tensor, pooler: bool = False) -> Tensor:
        """Token ids (T, L) to features (T, d).

        The BERT gets no attention mask: padding is attended, so L matters.

        Args:
            pooler: False: the state of the first token, [CLS], which the repository looks for by its id, in a
                way that fails on a single text. True: the BERT's pooled output, as public demos have it.
        """
        states = self.text_encoder(input_ids=input_ids)
        return (states.pooler_output if pooler else states.last_hidden_state[:, 0]) @ self.text_projection


class PMCCLIP(FileBaseline):
    """PMC-CLIP as its repository evaluates it.

    Traps: the number of heads of the attention pooling is in no tensor's shape, and 8 instead of 32 gives
    other features without an error; texts are padded to 77 tokens and the padding is attended; the text
    projection is not transposed.
    """

    name: ClassVar[str] = "pmc-clip"
    published, network = PUBLISHED, PMCCLIPModel
    hub_tokenizer = "microsoft/BiomedNLP-PubMedBERT-base-uncased-abstract-fulltext"
    context = 77
    image_heads: ClassVar[int | None] = None
    pooler: ClassVar[bool] = False
    choices = MappingProxyType(
        {"attention pooling": "32 heads, as the repository builds it", "text": "[CLS] state, padded to 77"}
    )

    @staticmethod
    def droppable(model: nn.Module) -> Mapping[str, str]:
        return DROPPABLE

    @classmethod
    def model_of(cls, tensors: Mapping[str, Tensor], source: Path | str, **choices: Any) -> PMCCLIPModel:
        return super().model_of(tensors, source, image_heads=cls.image_heads, **choices)

    def preprocess(self, image: Any) -> Tensor:
        return clip_pixels(as_pil(image))

    @torch.inference_mode()
    def encode_images(self, batch: Tensor) -> Tensor:
        return unit(self.model.visual(batch.to(self.device)))

    @torch.inference_mode()
    def encode_texts(self, texts: Sequence[str]) -> Tensor:
        ids, _ = tokenize(self.tokenizer, texts, self.max_length, padding="max_length")
        return unit(self.model.encode_ids(ids.to(self.device), self.pooler))


class PMCCLIPDemo(PMCCLIP):
    """PMC-CLIP as public demos load the same file: 8 heads in the pooling, and the BERT's pooled output."""

    name = "pmc-clip-demo"
    image_heads = 8
    pooler = True
    choices = MappingProxyType(
        {"attention pooling": "8 heads, as in public demos", "text": "pooled output, padded to 77"}
    )
