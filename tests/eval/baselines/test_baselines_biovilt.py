"""BioViL-T on single images, against its parts put together by hand."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from radir_eval.baselines.biovilt import IMAGE_FILE, BioViLT
from torch import Tensor, nn
from torchvision.models.resnet import Bottleneck, ResNet

from tests.eval.baselines.baseline_files import TOLERANCE, bert
from tests.modeling_radir.tiny import tokenizer


@pytest.fixture(scope="module")
def parts() -> nn.ModuleDict:
    """The towers and heads under the checkpoints' names, with random weights and statistics."""
    torch.manual_seed(0)
    made = nn.ModuleDict()
    made["images"] = nn.ModuleDict(
        {
            "encoder": nn.ModuleDict(
                {
                    "encoder": ResNet(Bottleneck, [1, 1, 1, 1]),
                    "backbone_to_vit": nn.Conv2d(2048, 6, 1, bias=False),
                }
            ),
            "projector": nn.ModuleDict(
                {
                    "model": nn.Sequential(
                        nn.Conv2d(12, 8, 1, bias=False), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 1)
                    )
                }
            ),
        }
    )
    made["images"]["encoder"].register_parameter(
        "missing_previous_emb", nn.Parameter(torch.randn(1, 6, 1, 1))
    )
    head = {
        "dense_to_hidden": nn.Linear(64, 8),
        "LayerNorm": nn.LayerNorm(8),
        "dense_to_output": nn.Linear(8, 8),
    }
    made["texts"] = nn.ModuleDict({"bert": bert(pooler=False), "cls_projection_head": nn.ModuleDict(head)})
    for module in made.modules():
        if isinstance(module, nn.BatchNorm2d | nn.LayerNorm):
            nn.init.normal_(module.bias, std=0.3)
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean, std=0.1)
    return made.eval()


@pytest.fixture
def folder(parts: nn.ModuleDict, tmp_path: Path) -> Path:
    unused = {
        "encoder.vit_pooler.type_embed": torch.zeros(2, 1, 6),
        "encoder.vit_pooler.blocks.0.norm1.bias": torch.zeros(6),
    }
    torch.save({**parts["images"].state_dict(), **unused}, tmp_path / IMAGE_FILE)
    masked = {"cls.predictions.bias": torch.zeros(30), "bert.embeddings.position_ids": torch.arange(20)[None]}
    torch.save({**parts["texts"].state_dict(), **masked}, tmp_path / "pytorch_model.bin")
    tokenizer().save_pretrained(tmp_path)
    return tmp_path


def unit_rows(values: np.ndarray) -> np.ndarray:
    return values / np.linalg.norm(values, axis=1, keepdims=True)


@torch.inference_mode()
def test_image_features_are_the_mean_of_projected_places(parts: nn.ModuleDict, folder: Path) -> None:
    pixels = torch.rand(2, 3, 64, 96)
    net, encoder = parts["images"]["encoder"]["encoder"], parts["images"]["encoder"]
    seen: list[Tensor] = []
    hook = net.layer4.register_forward_hook(lambda module, inputs, output: seen.append(output))
    net(pixels)  # torchvision's own order of its layers
    hook.remove()
    grid = encoder["backbone_to_vit"](seen[0]).numpy()  # (2, 6, 2, 3)
    earlier = np.broadcast_to(encoder.missing_previous_emb.numpy(), grid.shape)
    projector = parts["images"]["projector"]["model"]
    places = (
        np.concatenate([grid, earlier], axis=1).transpose(0, 2, 3, 1)
        @ projector[0].weight[:, :, 0, 0].numpy().T
    )
    norm = projector[1]
    scale = norm.weight.numpy() / np.sqrt(norm.running_var.numpy() + norm.eps)
    places = np.maximum((places - norm.running_mean.numpy()) * scale + norm.bias.numpy(), 0)
    places = places @ projector[3].weight[:, :, 0, 0].numpy().T + projector[3].bias.numpy()
    found = BioViLT.load(folder, "cpu").encode_images(pixels)
    np.testing.assert_allclose(found.numpy(), unit_rows(places.mean(axis=(1, 2))), atol=TOLERANCE)


@torch.inference_mode()
def test_text_features_are_the_projected_first_state_whatever_the_padding(
    parts: nn.ModuleDict, folder: Path
) -> None:
    baseline = BioViLT.load(folder, "cpu")
    ids = torch.tensor([tokenizer()("left heart")["input_ids"]])
    first = parts["texts"]["bert"](ids).last_hidden_state[:, 0]
    head = parts["texts"]["cls_projection_head"]
    hidden = torch.nn.functional.gelu(head["dense_to_hidden"](first))
    mean, spread = hidden.mean(dim=1, keepdim=True), hidden.var(dim=1, keepdim=True, correction=0)
    normed = (hidden - mean) / (spread + 1e-12).sqrt() * head["LayerNorm"].weight + head["LayerNorm"].bias
    expected = unit_rows(head["dense_to_output"](normed).numpy())
    found = baseline.encode_texts(["left heart", "the right lung is clear and there is no effusion"])
    np.testing.assert_allclose(found[:1].numpy(), expected, atol=TOLERANCE)


def test_an_image_is_stretched_and_its_middle_seen(folder: Path) -> None:
    baseline = BioViLT.load(folder, "cpu")
    values = np.full((512, 640), 50, np.uint8)
    values[:, 320:] = 100
    values[:32] = 200  # above the middle 448 rows
    found = baseline.preprocess(Image.fromarray(values))
    assert found.shape == (3, 448, 448)
    assert (found[0] == found[2]).all()
    # 50 -> 0, 200 -> 255, 100 -> 50 / 150 * 255 = 85; nothing is resized: the shorter side is 512
    assert found[0, 0, 0] == 0 and found[0, 447, 447] == pytest.approx(85 / 255)
    assert sorted(set(found.flatten().tolist())) == pytest.approx([0, 85 / 255])
    assert baseline.preprocess(Image.new("L", (500, 500), 7)).max() == 0


def test_both_files_are_needed(folder: Path) -> None:
    (folder / IMAGE_FILE).unlink()
    with pytest.raises(
        ValueError, match=rf"holds none of {IMAGE_FILE}.*download microsoft/BiomedVLP-BioViL-T"
    ):
        BioViLT.load(folder, "cpu")
