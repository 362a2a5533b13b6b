"""BioViL-T on single images: its ResNet-50, projected without an earlier image, beside its CXR-BERT.

The image tower belongs to another package (hi-ml-multimodal, repository microsoft/hi-ml), which wants other
versions of torch: its architecture is written here anew. The transformer that compares two images is left
out, since only single ones are encoded.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn
from torchvision.models.resnet import Bottleneck, ResNet
from torchvision.transforms import v2
from transformers import BertModel, BertTokenizer

from modeling_radir.conversion.checkpoint_files import read_tensors
from radir_eval.baselines.base import Baseline, best_device, unit
from radir_eval.baselines.bert import POSITION_IDS, bert_config, files_beside, load_tokenizer, tokenize
from radir_eval.baselines.images import as_pil
from radir_eval.baselines.weights import (
    Published,
    Shape,
    check_location,
    count_layers,
    digest_of,
    dimension,
    fill,
    locate,
    shapes_of,
    without_weights,
)

HUB_ID = "microsoft/BiomedVLP-BioViL-T"
IMAGE_FILE = "biovil_t_image_model_proj_size_128.pt"
ADVICE = f"download {HUB_ID} from the Hub, with {IMAGE_FILE} and pytorch_model.bin, and give its folder"
IMAGES = Published((IMAGE_FILE, "biovil_t_image_model_proj_size_128.safetensors"), HUB_ID, ADVICE)
TEXTS = Published(("pytorch_model.bin", "model.safetensors"), HUB_ID, ADVICE)
RESIZED, CROPPED = 512, 448
IMAGE_DROPPABLE = MappingProxyType(
    {
        r"encoder\.encoder\.fc\..*": "the forward pass does not use it",
        r"encoder\.vit_pooler\..*": "compares an image with an earlier one, which is never given",
    }
)
TEXT_DROPPABLE = MappingProxyType(
    {
        r"cls\..*": "predicts masked words",
        r"bert\.pooler\..*": "the forward pass does not use it",
        POSITION_IDS[0]: POSITION_IDS[1],
    }
)


class BioViLTImageModel(nn.Module):
    """Images to features, with sizes from the checkpoint's shapes.

    Args:
        shapes: of the checkpoint's tensors, by key.
        source: the checkpoint's name in errors.
    """

    def __init__(self, shapes: Mapping[str, Shape], source: Path | str) -> None:
        super().__init__()
        layers = [count_layers(shapes, f"encoder.encoder.layer{number}.") for number in range(1, 5)]
        self.backbone = ResNet(Bottleneck, layers)
        channels = self.backbone.fc.in_features
        del self.backbone.fc
        half = dimension(shapes, "encoder.backbone_to_vit.weight", 0, source)
        inner = dimension(shapes, "projector.model.0.weight", 0, source)
        width = dimension(shapes, "projector.model.3.weight", 0, source)
        self.reduce = nn.Conv2d(channels, half, 1, bias=False)
        self.no_earlier_image = nn.Parameter(torch.empty(1, half, 1, 1))
        self.projector = nn.Sequential(
            nn.Conv2d(2 * half, inner, 1, bias=False),
            nn.BatchNorm2d(inner),
            nn.ReLU(),
            nn.Conv2d(inner, width, 1),
        )

    def forward(self, pixels: Tensor) -> Tensor:
        """(B, 3, H, W) in [0, 1] to (B, d): each place is projected, then all are averaged."""
        net = self.backbone
        grid = net.maxpool(net.relu(net.bn1(net.conv1(pixels))))
        grid = self.reduce(net.layer4(net.layer3(net.layer2(net.layer1(grid)))))  # (B, half, h, w)
        both = torch.cat((grid, self.no_earlier_image.expand_as(grid)), dim=1)  # (B, 2 * half, h, w)
        return self.projector(both).mean(dim=(2, 3))


class BioViLTTextModel(nn.Module):
    """Token ids to features: the BERT's [CLS] through two layers with GELU and a norm between them."""

    def __init__(self, shapes: Mapping[str, Shape], source: Path | str, heads: int | None = None) -> None:
        super().__init__()
        config = bert_config(shapes, "bert.", source, heads)
        width = dimension(shapes, "cls_projection_head.dense_to_hidden.weight", 0, source)
        self.bert = BertModel(config, add_pooling_layer=False)
        self.cls_projection_head = nn.ModuleDict(
            {
                "dense_to_hidden": nn.Linear(config.hidden_size, width),
                "LayerNorm": nn.LayerNorm(width, eps=1e-12),
                "dense_to_output": nn.Linear(width, width),
            }
        )

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """(T, L) each to (T, d)."""
        head = self.cls_projection_head
        first = self.bert(input_ids, attention_mask=attention_mask).last_hidden_state[:, 0]
        return head["dense_to_output"](head["LayerNorm"](F.gelu(head["dense_to_hidden"](first))))


def image_plan(model: BioViLTImageModel) -> dict[str, str]:
    """The checkpoint's key of each of the image model's, {theirs: ours}."""
    names = {
        "backbone.": "encoder.encoder.",
        "reduce.": "encoder.backbone_to_vit.",
        "no_earlier_image": "encoder.missing_previous_emb",
        "projector.": "projector.model.",
    }
    plan = {}
    for ours in model.state_dict():
        part = next(part for part in names if ours.startswith(part))
        plan[names[part] + ours.removeprefix(part)] = ours
    return plan


class BioViLT(Baseline):
    """BioViL-T for single images.

    Traps: each image is stretched to its own darkest and brightest value first, and no mean is taken off; the
    shorter side becomes 512 pixels, of which the middle 448 are seen; the features are the mean of projected
    places, not the projection of a mean; without an earlier image a learned vector stands in for it.
    """

    name: ClassVar[str] = "biovil-t"
    choices = MappingProxyType({"images": "single, without an earlier one"})

    def __init__(
        self,
        images: BioViLTImageModel,
        texts: BioViLTTextModel,
        tokenizer: Any,
        device: str | torch.device | None = None,
    ) -> None:
        self.device = best_device(device)
        self.images, self.texts, self.tokenizer = images.to(self.device), texts.to(self.device), tokenizer

    @classmethod
    def check(cls, location: str | Path | None) -> None:
        if location is None:
            return
        check_location(location, IMAGES)
        if Path(location).is_file():
            raise ValueError(f"{location} is a file, and biovil-t needs several: {ADVICE}")

    @classmethod
    def digest(cls, location: str | Path | None) -> str:
        paths = [locate(location, IMAGES), locate(location, TEXTS)]
        return digest_of([*paths, *files_beside(paths[1].parent)])

    @classmethod
    def load(
        cls,
        location: str | Path | None = None,
        device: str | torch.device | None = None,
        text_heads: int | None = None,
    ) -> "BioViLT":
        cls.check(location)
        image_path, text_path = locate(location, IMAGES), locate(location, TEXTS)
        image_tensors, text_tensors = read_tensors(image_path), read_tensors(text_path)
        with without_weights():
            images = BioViLTImageModel(shapes_of(image_tensors), image_path)
            texts = BioViLTTextModel(shapes_of(text_tensors), text_path, text_heads)
        fill(images, image_tensors, image_plan(images), IMAGE_DROPPABLE, image_path)
        fill(texts, text_tensors, {key: key for key in texts.state_dict()}, TEXT_DROPPABLE, text_path)
        tokenizer = load_tokenizer(text_path.parent, HUB_ID, texts.bert.config.vocab_size, BertTokenizer)
        return cls(images, texts, tokenizer, device)

    def preprocess(self, image: Any) -> Tensor:
        """(3, 448, 448) in [0, 1]: stretched to 0 to 255, grey, resized, the centre cut out."""
        picture = as_pil(image)
        values = np.asarray(picture if picture.mode == "L" else picture.convert("RGB"), dtype=np.float64)
        values = values - values.min()
        stretched = (values / max(values.max(), 1.0) * 255).astype(np.uint8)  # cut off, as the original does
        grey = Image.fromarray(stretched).convert("L")
        resized = v2.functional.resize(grey, [RESIZED], interpolation=v2.InterpolationMode.BILINEAR)
        middle = v2.functional.pil_to_tensor(v2.functional.center_crop(resized, [CROPPED, CROPPED]))
        return (middle.float() / 255).expand(3, -1, -1)

    @torch.inference_mode()
    def encode_images(self, batch: Tensor) -> Tensor:
        return unit(self.images(batch.to(self.device)))

    @torch.inference_mode()
    def encode_texts(self, texts: Sequence[str]) -> Tensor:
        ids, mask = tokenize(self.tokenizer, texts, self.texts.bert.config.max_position_embeddings)
        return unit(self.texts(ids.to(self.device), mask.to(self.device)))
