"""Heat-maps of a RadIR folder: the maps of `attention_map` over the images; none where there can be none."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import radir_eval.rankers.radir_heat_maps
from radir_eval.rankers.radir_model import ModelEmbeddings
from radir_eval.retrieval_split import RetrievalSplit

from modeling_radir.heat_maps.integrated_gradients import attention_map
from modeling_radir.heat_maps.overlays import overlay
from modeling_radir.image_processing_radir_ct import RadIRCTImageProcessor
from modeling_radir.processing_radir import RadIRProcessor
from modeling_radir.volumes import Volume
from tests.modeling_radir import tiny


@pytest.fixture
def items(helpers: SimpleNamespace) -> RetrievalSplit:
    return RetrievalSplit(helpers.FakeDataset(n_studies=6), "test")


def saved(folder: Path, fusion: bool = True) -> ModelEmbeddings:
    tiny.model(fusion=fusion).save_pretrained(folder)
    tiny.processor().save_pretrained(folder)
    return ModelEmbeddings(folder, progress=False)


def test_a_ranking_draws_the_map_of_its_model_in_the_images_own_pixels(
    tmp_path: Path, items: RetrievalSplit
) -> None:
    ranking = saved(tmp_path).open(items)
    model, processor = tiny.model(), tiny.processor()
    one, other = (
        processor(images=items.image(place), return_tensors="pt")["pixel_values"] for place in (0, 1)
    )
    alone, with_hit = ranking.heat_map(0, "heart"), ranking.heat_map(0, "heart", 1)
    for picture, hit in ((alone, None), (with_hit, other)):
        expected = overlay(items.image(0), attention_map(model, one, "heart", hit)[0], processor)
        assert picture is not None
        assert picture.size == items.image(0).size
        difference = np.abs(np.asarray(picture, dtype=int) - np.asarray(expected, dtype=int))
        assert difference.max() <= 1  # rounding
    assert np.asarray(alone).tobytes() != np.asarray(with_hit).tobytes()


def test_an_unknown_anatomy_and_a_model_without_fusion_have_no_heat_map(
    tmp_path: Path, items: RetrievalSplit
) -> None:
    assert "trachea" not in tiny.ANATOMIES
    assert saved(tmp_path / "radir").open(items).heat_map(0, "trachea") is None
    assert saved(tmp_path / "clip", fusion=False).open(items).heat_map(0, "heart") is None


def test_images_too_large_for_the_processor_are_left_out_and_logged_once(
    tmp_path: Path, items: RetrievalSplit, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(radir_eval.rankers.radir_heat_maps, "CPU_VALUES", 100)
    tiny.model().save_pretrained(tmp_path)
    tiny.processor().save_pretrained(tmp_path)
    ranking = ModelEmbeddings(tmp_path, device="cpu", progress=False).open(items)
    assert [ranking.heat_map(place, "heart") for place in (0, 1)] == [None, None]
    assert [record.getMessage() for record in caplog.records] == [
        f"no heat-maps: images of {tiny.IMAGE_SIZE**2:,} values need a GPU"
    ]


@pytest.mark.parametrize("orientation", ["SPL", "released"])
def test_a_volume_gets_a_row_of_slices(
    tmp_path: Path, helpers: SimpleNamespace, monkeypatch: pytest.MonkeyPatch, orientation: str
) -> None:
    dataset = helpers.FakeDataset(n_studies=6)
    hu = np.random.default_rng(0).integers(-1000, 200, (8, 32, 32), dtype=np.int16)
    monkeypatch.setattr(dataset, "image", lambda row: Volume(hu, (5.0, 4.0, 4.0)))
    size = {"depth": tiny.VOLUME_DEPTH, "height": tiny.IMAGE_SIZE, "width": tiny.IMAGE_SIZE}
    images = RadIRCTImageProcessor(size=size, spacing_mm=[5, 4, 4], orientation=orientation)
    RadIRProcessor(image_processor=images, tokenizer=tiny.tokenizer()).save_pretrained(tmp_path)
    tiny.model("ctvit").save_pretrained(tmp_path)
    items = RetrievalSplit(dataset, "test")
    source = ModelEmbeddings(tmp_path, progress=False)
    first, second = (source.heat_map(items, 0, "heart", 1) for _ in range(2))
    assert first is not None
    assert second is not None
    assert first.mode == "RGB"
    assert first.width > 2 * first.height
    assert first.tobytes() == second.tobytes()
    assert len(np.unique(np.asarray(first))) > 50
