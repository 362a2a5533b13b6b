"""A RadIR folder as a ranker: the vectors of the model's own methods; a plain CLIP ignores conditions."""

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from radir_eval.rankers.radir_model import ModelEmbeddings
from radir_eval.retrieval_split import RetrievalSplit

from tests.modeling_radir import tiny


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    root = tmp_path_factory.mktemp("models")
    for name, fusion in (("radir", True), ("clip", False)):
        tiny.model(fusion=fusion).save_pretrained(root / name)
        tiny.processor().save_pretrained(root / name)
    return SimpleNamespace(radir=root / "radir", clip=root / "clip")


def test_vectors_equal_those_of_the_models_own_methods(
    folders: SimpleNamespace, helpers: SimpleNamespace
) -> None:
    dataset = helpers.FakeDataset(n_studies=12, size=tiny.IMAGE_SIZE)
    items = RetrievalSplit(dataset, "test")
    ranking = ModelEmbeddings(folders.radir, batch_size=5, progress=False).open(items)
    model, processor = tiny.model(), tiny.processor()
    pixels = processor(images=list(items.studies["image"]), return_tensors="pt")["pixel_values"]
    tokens = processor(text=["left pleura"], return_tensors="pt")
    texts = processor(text=[items.text(i, "") for i in range(len(items))], return_tensors="pt")
    with torch.inference_mode():
        whole = model.get_image_features(pixels)
        pleura = model.get_conditional_features(pixels, tokens["input_ids"], tokens["attention_mask"])[:, 0]
        reports = model.get_text_features(texts["input_ids"], texts["attention_mask"])
    assert ranking.conditional
    np.testing.assert_allclose(ranking.image(None), whole.numpy(), atol=1e-5)
    np.testing.assert_allclose(ranking.image("left pleura"), pleura.numpy(), atol=1e-5)
    np.testing.assert_allclose(ranking.report(), reports.numpy(), atol=1e-5)


def test_each_image_is_encoded_once_for_all_anatomies(
    folders: SimpleNamespace, helpers: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    from modeling_radir import RadIRModel

    seen: list[int] = []
    encode = RadIRModel.encode_image

    def counted(self: RadIRModel, pixel_values: torch.Tensor) -> object:
        seen.append(len(pixel_values))
        return encode(self, pixel_values)

    monkeypatch.setattr(RadIRModel, "encode_image", counted)
    items = RetrievalSplit(helpers.FakeDataset(n_studies=12), "test")
    ModelEmbeddings(folders.radir, batch_size=4, progress=False).open(items)
    assert sum(seen) == len(items)


def test_a_plain_clip_gives_its_holistic_features_under_every_anatomy(
    folders: SimpleNamespace, helpers: SimpleNamespace
) -> None:
    items = RetrievalSplit(helpers.FakeDataset(n_studies=12), "test")
    source = ModelEmbeddings(folders.clip, progress=False)
    ranking = source.open(items)
    assert source.name == "clip"
    assert not ranking.conditional
    np.testing.assert_array_equal(ranking.image("heart"), ranking.image(None))


def test_a_folder_of_another_kind_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="neither a model folder"):
        ModelEmbeddings(tmp_path / "nothing")
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert"}))
    with pytest.raises(ValueError, match="of type 'bert'"):
        ModelEmbeddings(tmp_path)


def test_a_diverged_model_is_refused(
    folders: SimpleNamespace, helpers: SimpleNamespace, tmp_path: Path
) -> None:
    model = tiny.model()
    with torch.no_grad():
        model.visual_projection.weight.fill_(float("nan"))
    model.save_pretrained(tmp_path)
    tiny.processor().save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="no finite numbers"):
        ModelEmbeddings(tmp_path, progress=False).open(
            RetrievalSplit(helpers.FakeDataset(n_studies=12), "test")
        )
