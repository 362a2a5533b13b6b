"""Folders of mixed files become an index; what is left out is listed with its reason."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from modeling_radir import RadIRCTImageProcessor, RadIRProcessor, Volume, inference
from modeling_radir.inference import embed, embed_all
from radir_search.build_index import build_index, folder_items
from radir_search.index import RetrievalIndex
from radir_search.query import search_image
from tests.made_up.dicom import write_dicom, write_series
from tests.made_up.volumes import save_turned
from tests.modeling_radir import tiny

SPACING = (4.0, 2.0, 2.0)
SIZE = {"depth": tiny.VOLUME_DEPTH, "height": tiny.IMAGE_SIZE, "width": tiny.IMAGE_SIZE}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    root = tmp_path_factory.mktemp("models")
    ct = RadIRProcessor(RadIRCTImageProcessor(size=SIZE, spacing_mm=list(SPACING)), tiny.tokenizer())
    for name, tower, processor in (("cxr", "vit", tiny.processor()), ("ct", "ctvit", ct)):
        tiny.model(tower).save_pretrained(root / name)
        processor.save_pretrained(root / name)
    return SimpleNamespace(cxr=str(root / "cxr"), ct=str(root / "ct"))


def x_ray(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 4096, (40, 36)).astype(np.uint16)


def scan(seed: int) -> np.ndarray:
    blocks = np.random.default_rng(seed).integers(-1000, 1000, (3, 5, 5))
    return np.kron(blocks, np.ones((3, 6, 6))).astype(np.int16)


@pytest.fixture
def x_rays(tmp_path: Path) -> Path:
    """Six X-rays of five kinds, and what is none."""
    folder = tmp_path / "x-rays"
    (folder / "disc" / "IMG").mkdir(parents=True)
    Image.fromarray(x_ray(0)).save(folder / "deep.png")
    for number, name in ((1, "a.png"), (2, "b.JPG")):
        Image.fromarray((x_ray(number) // 16).astype(np.uint8)).save(folder / name)
    write_dicom(folder / "c.dcm", x_ray(3), "MONOCHROME2", 12)
    write_dicom(folder / "disc" / "IMG" / "0001", x_ray(4), "MONOCHROME1", 12)
    write_dicom(folder / "disc" / "DICOMDIR", x_ray(5), "MONOCHROME2", 12)
    (folder / "broken.png").write_bytes(b"no image")
    (folder / "notes.txt").write_text("DICM")
    save_turned(folder / "scan.nii.gz", Volume(scan(0), SPACING))
    return folder


@pytest.fixture
def scans(tmp_path: Path) -> Path:
    """Four volumes of three kinds, one of them incomplete, and what is none."""
    folder = tmp_path / "scans"
    (folder / "b").mkdir(parents=True)
    save_turned(folder / "a.nii.gz", Volume(scan(0), SPACING))
    save_turned(folder / "b" / "c.nii", Volume(scan(1), SPACING))
    write_series(folder / "series", scan(2), SPACING)
    write_series(folder / "torn", scan(3), SPACING)[4].unlink()
    Image.fromarray(x_ray(0)).save(folder / "key.png")
    (folder / "notes.txt").write_text("none")
    return folder


def test_x_rays_of_all_kinds_are_indexed_and_the_rest_is_listed(
    models: SimpleNamespace, x_rays: Path, tmp_path: Path
) -> None:
    summary = build_index(models.cxr, x_rays, tmp_path / "index", progress=False)
    index = RetrievalIndex.load(tmp_path / "index")
    assert [item["image_id"] for item in index.items] == [
        "a.png",
        "b.JPG",
        "c.dcm",
        "deep.png",
        "disc/IMG/0001",
    ]
    assert (summary.count, summary.anatomies) == (5, len(tiny.ANATOMIES))
    reasons = {item["path"]: item["reason"] for item in summary.skipped}
    assert set(reasons) == {"broken.png", "scan.nii.gz"}
    assert "cannot be read" in reasons["broken.png"]
    assert "is a volume, and this model takes single X-rays" in reasons["scan.nii.gz"]


def test_volumes_of_all_kinds_are_indexed_and_the_rest_is_listed(
    models: SimpleNamespace, scans: Path, tmp_path: Path
) -> None:
    summary = build_index(models.ct, scans, tmp_path / "index", progress=False)
    index = RetrievalIndex.load(tmp_path / "index")
    assert [item["image_id"] for item in index.items] == ["a.nii.gz", "b/c.nii", "series"]
    assert index.items[2]["path"] == str(scans / "series")
    reasons = {item["path"]: item["reason"] for item in summary.skipped}
    assert set(reasons) == {"key.png", "torn"}
    assert "is a picture, and this model takes volumes" in reasons["key.png"]
    assert str(scans / "torn") in reasons["torn"]


@pytest.mark.parametrize(("kind", "query"), [("cxr", "disc/IMG/0001"), ("ct", "b/c.nii"), ("ct", "series")])
@pytest.mark.parametrize("anatomy", [None, "left pleura"])
def test_a_query_finds_itself_first(
    models: SimpleNamespace,
    x_rays: Path,
    scans: Path,
    tmp_path: Path,
    kind: str,
    query: str,
    anatomy: str | None,
) -> None:
    folder = x_rays if kind == "cxr" else scans
    build_index(getattr(models, kind), folder, tmp_path / "index", progress=False)
    hits = search_image(tmp_path / "index", folder / query, anatomy, k=3)
    assert hits[0].image_id == query
    assert hits[0].score == pytest.approx(1, abs=1e-5)
    assert hits[1].score < 1 - 1e-5


def test_a_folder_that_is_itself_a_series_bears_its_own_name(models: SimpleNamespace, tmp_path: Path) -> None:
    write_series(tmp_path / "series", scan(2), SPACING)
    assert [item.about["image_id"] for item in folder_items(tmp_path / "series", volumes=True)] == ["series"]


def test_folders_without_the_models_kind_of_image_are_refused(
    models: SimpleNamespace, x_rays: Path, scans: Path, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    for model, folder, words in (
        (models.cxr, tmp_path / "empty", "holds no PNG, JPEG or DICOM file: give"),
        (models.cxr, scans / "b", "holds no PNG, JPEG or DICOM file, but 1 volumes"),
        (models.ct, tmp_path / "empty", "holds no NIfTI file or DICOM series: give"),
    ):
        with pytest.raises(ValueError, match=words):
            build_index(model, folder, tmp_path / "index", progress=False)


def test_queries_of_the_other_kind_are_refused_with_a_sentence(
    models: SimpleNamespace, x_rays: Path, scans: Path, tmp_path: Path
) -> None:
    build_index(models.cxr, x_rays, tmp_path / "x-ray index", progress=False)
    build_index(models.ct, scans, tmp_path / "scan index", progress=False)
    for index, query, words in (
        ("x-ray index", scans / "a.nii.gz", "is a volume, and this model takes single X-rays"),
        ("x-ray index", scans / "series", "is a folder, and this model takes single X-rays"),
        ("scan index", x_rays / "a.png", "is a picture, and this model takes volumes"),
        ("scan index", x_rays / "c.dcm", "one DICOM file is one slice"),
        ("scan index", scans / "gone.nii", "gone.nii"),
        ("x-ray index", x_rays / "gone.png", "no file"),
    ):
        with pytest.raises(ValueError, match=words):
            search_image(tmp_path / index, query)


def test_an_index_of_nothing_readable_is_refused(models: SimpleNamespace, tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "broken.png").write_bytes(b"no image")
    with pytest.raises(ValueError, match="no image could be read; the first of 1"):
        build_index(models.cxr, tmp_path / "images", tmp_path / "index", progress=False)
    assert not (tmp_path / "index").exists()


@pytest.mark.parametrize(("limit", "batches"), [(2**25, [3, 2]), (2 * 8 * 32 * 32, [2, 2, 1]), (1, [1] * 5)])
def test_batches_of_volumes_are_bounded_and_give_the_same_features(
    monkeypatch: pytest.MonkeyPatch, limit: int, batches: list[int]
) -> None:
    monkeypatch.setattr(inference, "BATCH_VALUES", limit)
    model, pixels = tiny.model("ctvit"), tiny.volumes(5)
    queries = model.encode_anatomies(*model.anatomy_tokens(["heart", "right lung"])).detach()
    found = list(embed_all(model, (one[None] for one in pixels), queries, batch_size=3))
    assert [len(whole) for whole, _ in found] == batches
    whole, fused = embed(model, pixels, queries)
    assert fused is not None
    torch.testing.assert_close(torch.cat([part for part, _ in found]), whole, rtol=0, atol=1e-5)
    parts = torch.cat([part for _, part in found if part is not None])
    torch.testing.assert_close(parts, fused, rtol=0, atol=1e-5)
