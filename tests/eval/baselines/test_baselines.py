"""Any baseline becomes a ranker by its name; what is missing or does not fit is said completely."""

import importlib.util
import pickle
import re
import zipfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from radir_eval.baselines import BASELINES, ctclip, medclip, parse_baseline, weights
from radir_eval.baselines.base import unit
from radir_eval.baselines.bert import load_tokenizer
from radir_eval.baselines.images import as_pil, clip_pixels
from radir_eval.baselines.pmcclip import PMCCLIP
from radir_eval.baselines.transformers_models import MedSigLIP, TransformersBaseline
from radir_eval.benchmark import evaluate_models
from radir_eval.protocol import Protocol
from radir_eval.retrieval_split import RetrievalSplit
from safetensors.torch import save_file
from torch import nn
from transformers import SwinConfig, SwinModel

from modeling_radir.conversion.checkpoint_files import read_tensors
from modeling_radir.volumes import Volume
from tests.eval.baselines.baseline_files import bert, pmcclip_file, pmcclip_state
from tests.modeling_radir.tiny import tokenizer


def test_each_family_has_a_name() -> None:
    assert set(BASELINES) == {
        *("biomedclip", "medclip", "pmc-clip", "pmc-clip-demo", "ct-clip"),
        *("medsiglip", "rad-dino", "biovil-t", "transformers", "frozen", "frozen-centred"),
    }


def test_names_and_locations_are_understood(tmp_path: Path) -> None:
    path = pmcclip_file(tmp_path)
    source = parse_baseline(f"pmc-clip={path}", batch_size=3, progress=False)
    assert (source.name, source.baseline, source.location) == ("pmc-clip", PMCCLIP, str(path))
    assert (source.batch_size, source.progress) == (3, False)
    by_id = parse_baseline("google/medsiglip-448")
    assert (by_id.baseline, by_id.name) == (MedSigLIP, "medsiglip-448")
    (tmp_path / "some-vit").mkdir()
    (tmp_path / "some-vit" / "config.json").write_text("{}")
    for text in (str(tmp_path / "some-vit"), f"transformers={tmp_path / 'some-vit'}"):
        source = parse_baseline(text)
        assert (source.baseline, source.name) == (TransformersBaseline, "some-vit")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("pmcclip", "unknown baseline 'pmcclip'; the nearest known: 'pmc-clip'"),
        ("pmcclip=/somewhere", "unknown baseline 'pmcclip'"),
        ("pmc-clip=", "give pmc-clip=ID_OR_PATH"),
        ("pmc-clip=/nowhere/checkpoint.pt", r"no file or folder /nowhere.*axiong/pmc_oa_beta"),
        ("ct-clip=/nowhere/CT-CLIP_v2.pt", r"access to .*ibrahimhamamci/CT-RATE.*CT-CLIP_v2\.pt"),
        ("medclip", r"medclip-vit-pretrained\.zip.*RyanWangZf/MedCLIP"),
        ("transformers", "needs a Hub id or a folder"),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_loaded(text: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        parse_baseline(text)


def test_files_in_place_of_folders_are_refused(tmp_path: Path) -> None:
    (tmp_path / "weights.pt").touch()
    for name in ("biomedclip", "biovil-t", "medsiglip"):
        if name == "biomedclip":
            pytest.importorskip("open_clip")
        with pytest.raises(ValueError, match=re.escape(str(tmp_path / "weights.pt"))):
            parse_baseline(f"{name}={tmp_path / 'weights.pt'}")


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match="pip install open_clip_torch"):
        parse_baseline("biomedclip")


def test_a_baseline_is_ranked_by_its_holistic_features_under_every_anatomy(
    tmp_path: Path, helpers: SimpleNamespace
) -> None:
    items = RetrievalSplit(helpers.FakeDataset(n_studies=12), "test")
    source = parse_baseline(f"pmc-clip={pmcclip_file(tmp_path)}", batch_size=5, progress=False)
    ranking = source.open(items)
    assert not ranking.conditional
    np.testing.assert_array_equal(ranking.image("heart"), ranking.image(None))
    model = PMCCLIP.load(tmp_path, "cpu")
    pixels = torch.stack([clip_pixels(image) for image in items.studies["image"]])
    np.testing.assert_allclose(ranking.image(None), model.encode_images(pixels).numpy(), atol=1e-5)
    expected = model.encode_texts([items.text(i, "") for i in range(len(items))]).numpy()
    np.testing.assert_allclose(ranking.report(), expected, atol=1e-5)


def test_a_baseline_takes_part_in_the_evaluation(tmp_path: Path, helpers: SimpleNamespace) -> None:
    source = parse_baseline(f"pmc-clip={pmcclip_file(tmp_path)}", progress=False)
    dataset = helpers.FakeDataset(n_studies=12)
    protocol = Protocol(bootstrap_draws=100)
    results = evaluate_models(dataset, "test", [source], protocol, tmp_path / "out", False)
    assert not results["models"]["pmc-clip"]["conditions"]
    assert "heart" in results["models"]["pmc-clip"]["conditional"]


def test_the_fingerprint_follows_the_weights_and_not_their_place(tmp_path: Path) -> None:
    prints = []
    for folder, seed in (("a", 0), ("b", 0), ("c", 1)):
        (tmp_path / folder).mkdir()
        prints.append(parse_baseline(f"pmc-clip={pmcclip_file(tmp_path / folder, seed)}").fingerprint())
    assert prints[0] == prints[1] != prints[2]
    demo = parse_baseline(f"pmc-clip-demo={tmp_path / 'a'}").fingerprint()
    assert demo != prints[0]


def test_texts_are_padded_to_the_context_and_the_padding_is_attended(tmp_path: Path) -> None:
    baseline = PMCCLIP.load(pmcclip_file(tmp_path), "cpu")
    ids = tokenizer()("left heart")["input_ids"]
    padded = torch.tensor([ids + [0] * (20 - len(ids))])  # the BERT knows 20 positions
    with torch.inference_mode():
        states = baseline.model.text_encoder(padded, torch.ones_like(padded)).last_hidden_state
        expected = unit(states[:, 0] @ baseline.model.text_projection)
    torch.testing.assert_close(baseline.encode_texts(["left heart"]), expected, atol=1e-5, rtol=0)


def test_all_keys_that_do_not_fit_are_listed() -> None:
    state = pmcclip_state()
    for key in ("visual.bn2.weight", "text_encoder.pooler.dense.bias"):
        del state[key]
    state |= {"visual.extra": torch.zeros(2), "other": torch.zeros(3, 1)}
    state["text_projection"] = torch.zeros(64, 65)
    with pytest.raises(ValueError, match=r"file\.pt does not hold this model's weights") as raised:
        PMCCLIP.model_of(state, "file.pt")
    told = str(raised.value)
    assert "missing (2):\n  visual.bn2.weight (4,)\n  text_encoder.pooler.dense.bias (64,)" in told
    assert "extra (2):\n  visual.extra (2,)\n  other (3, 1)" in told
    assert "of another shape (1):\n  text_projection (64, 65) instead of (64, 64)" in told


def test_a_file_of_another_model_is_told_apart() -> None:
    with pytest.raises(ValueError, match=r"no tensor visual\.conv3\.weight.*it holds something"):
        PMCCLIP.model_of({"something": torch.zeros(1)}, "file.pt")


class _Planted:
    def __reduce__(self) -> tuple[Any, ...]:
        return (Path("planted").touch, ())


def test_nothing_but_tensors_is_unpickled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "checkpoint.pt"
    for write in (torch.save, lambda what, to: to.write_bytes(pickle.dumps(what))):
        write({"state_dict": _Planted()}, path)
        with pytest.raises(ValueError, match="cannot be read as tensors"):
            read_tensors(path)
    assert not (tmp_path / "planted").exists()
    torch.save({"state_dict": {"weight": torch.ones(2), "epoch": 3}}, path)
    with pytest.raises(ValueError, match="no tensors, under epoch"):
        read_tensors(path)


def test_state_dicts_come_out_of_every_wrapping(tmp_path: Path) -> None:
    state = {"a.weight": torch.arange(3.0)}
    wrapped = {f"module.{key}": value for key, value in state.items()}
    for number, content in enumerate((state, {"model": state}, {"state_dict": wrapped, "epoch": 2})):
        torch.save(content, tmp_path / f"{number}.pt")
        found = read_tensors(tmp_path / f"{number}.pt")
        assert list(found) == ["a.weight"] and found["a.weight"].tolist() == [0, 1, 2]
    save_file(state, tmp_path / "x.safetensors")
    assert list(read_tensors(tmp_path / "x.safetensors")) == ["a.weight"]


def test_weights_come_from_the_hub_by_repository_and_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, str, str]] = []

    def download(repo: str, name: str, repo_type: str) -> str:
        asked.append((repo, name, repo_type))
        if name == "checkpoint.pt":
            raise OSError("404")
        return str(tmp_path / name)

    monkeypatch.setattr(weights, "hf_hub_download", download)
    found = weights.locate(None, ctclip.PUBLISHED)
    assert asked == [("ibrahimhamamci/CT-RATE", "models/CT-CLIP-Related/CT-CLIP_v2.pt", "dataset")]
    assert found == tmp_path / "models/CT-CLIP-Related/CT-CLIP_v2.pt"
    asked.clear()
    published = weights.Published(("checkpoint.pt", "b.safetensors"), "", "download it from there")
    assert weights.locate("some/one", published) == tmp_path / "b.safetensors"
    assert asked == [("some/one", "checkpoint.pt", "model"), ("some/one", "b.safetensors", "model")]
    with pytest.raises(ValueError, match=r"did not give checkpoint\.pt \(404\): download it from there"):
        weights.locate("some/one:checkpoint.pt", published)
    with pytest.raises(ValueError, match=r"holds none of checkpoint\.pt, b\.safetensors: download it"):
        weights.locate(tmp_path, published)


def test_a_tokenizer_with_more_pieces_than_the_tower_is_refused(tmp_path: Path) -> None:
    tokenizer().save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"knows \d+ pieces and the text tower 7: give that of some/one"):
        load_tokenizer(tmp_path, "some/one", 7)


def test_medclip_loads_from_the_archive_as_it_is_published(tmp_path: Path) -> None:
    torch.manual_seed(0)
    config = SwinConfig(embed_dim=8, depths=[1, 1, 1, 1], num_heads=[1, 1, 1, 1], mlp_ratio=2.0)
    parts = nn.ModuleDict()
    for name, tower in (("vision_model", SwinModel(config)), ("text_model", bert(pooler=False))):
        parts[name] = nn.ModuleDict({"model": tower, "projection_head": nn.Linear(64, 16, bias=False)})
    ours = parts.eval().state_dict()
    old = {theirs: ours[name] for theirs, name in medclip.MedCLIP.key_plan(parts).items()}
    assert "vision_model.model.encoder.layers.0.blocks.0.attention.self.query.weight" in old
    old["text_model.model.embeddings.position_ids"] = torch.arange(20)[None]
    torch.save(old, tmp_path / "pytorch_model.bin")
    with zipfile.ZipFile(tmp_path / "medclip-vit-pretrained.zip", "w") as archive:
        archive.write(tmp_path / "pytorch_model.bin", "medclip-vit/pytorch_model.bin")
    tokenizer().save_pretrained(tmp_path)
    image = Image.fromarray(np.arange(300 * 200, dtype=np.uint32).reshape(300, 200).astype(np.uint8))
    for path in (tmp_path / "medclip-vit-pretrained.zip", tmp_path):
        baseline = medclip.MedCLIP.load(path, "cpu")
        pixels = baseline.preprocess(image)[None]
        with torch.inference_mode():
            pooled = parts["vision_model"]["model"](pixels.repeat(1, 3, 1, 1)).pooler_output
            expected = unit(parts["vision_model"]["projection_head"](pooled))
        torch.testing.assert_close(baseline.encode_images(pixels), expected, atol=1e-5, rtol=0)
        assert baseline.encode_texts(["left heart", "the right lung is clear"]).shape == (2, 16)


def test_images_of_8_bits_come_through_as_they_are_and_deeper_ones_scaled(tmp_path: Path) -> None:
    picture = Image.new("RGBA", (4, 3), (9, 8, 7, 255))
    assert as_pil(picture) is picture
    picture.save(tmp_path / "a.png")
    assert as_pil(tmp_path / "a.png").mode == "RGBA"
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(np.arange(12, dtype=np.uint8).reshape(3, 4)).save(tmp_path / "lies.png", exif=exif)
    for lying in (tmp_path / "lies.png", Image.open(tmp_path / "lies.png")):
        assert np.asarray(as_pil(lying)).tolist() == [[8, 4, 0], [9, 5, 1], [10, 6, 2], [11, 7, 3]]
    assert np.asarray(as_pil(np.full((3, 4), 7, np.uint8))).tolist() == [[7] * 4] * 3
    deep = as_pil(Image.fromarray(np.array([[0, 1000], [2000, 4000]], np.uint16)))
    assert deep.mode == "L"
    assert np.asarray(deep).tolist() == [[0, 64], [128, 255]]
    with pytest.raises(ValueError, match="single images, not volumes"):
        as_pil(Volume(np.zeros((2, 2, 2), np.int16), (1, 1, 1)))


def ctclip_preprocess(image: Any) -> torch.Tensor:
    return ctclip.CTCLIP.preprocess(None, image)  # type: ignore[arg-type] # it needs no model


@pytest.mark.parametrize("size", [(6, 9, 10), (40, 60, 50)])
def test_ctclip_clips_before_it_resamples_and_cuts_or_pads(
    monkeypatch: pytest.MonkeyPatch, size: tuple[int, int, int]
) -> None:
    monkeypatch.setattr(ctclip, "SIZE", size)
    rng = np.random.default_rng(0)
    array = rng.integers(-3000, 3000, (17, 13, 9)).astype(np.int16)  # (X, Y, Z), as a NIfTI file holds it
    volume = Volume(array.T, spacing_mm=(4.0, 1.1, 0.9))
    found = ctclip_preprocess(volume)
    assert found.shape == (1, *size) and found.dtype == torch.float32

    clipped = torch.from_numpy(np.clip(array.astype(np.float32), -1000, 1000)).permute(2, 0, 1)
    grid = [int(9 * 4.0 / 1.5), int(17 * 0.9 / 0.75), int(13 * 1.1 / 0.75)]
    resampled = F.interpolate(clipped[None, None], grid, mode="trilinear", align_corners=False)[0, 0] / 1000
    expected = resampled
    for axis, (n, wanted) in enumerate(zip(grid, size, strict=True)):
        start = max(0, (n - wanted) // 2)
        expected = expected.narrow(axis, start, min(n, wanted))
        padding = [0] * 6
        padding[2 * (2 - axis)] = max(0, (wanted - n) // 2)
        padding[2 * (2 - axis) + 1] = max(0, wanted - n) - padding[2 * (2 - axis)]
        expected = F.pad(expected, padding, value=-1.0)
    torch.testing.assert_close(found[0], expected, atol=1e-5, rtol=0)


def test_ctclip_takes_volumes_only() -> None:
    with pytest.raises(ValueError, match="ct-clip takes CT volumes, not a Image"):
        ctclip_preprocess(Image.new("L", (4, 4)))
