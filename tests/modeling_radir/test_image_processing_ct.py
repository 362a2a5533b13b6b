"""Volumes of every kind become the same pixel values, in training and in use."""

import itertools
import os
import subprocess
import sys
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from safetensors.torch import load_file
from transformers import AutoImageProcessor, AutoProcessor

from modeling_radir import RadIRCTImageProcessor, RadIRCXRImageProcessor, RadIRProcessor, Volume
from tests.made_up.ctrate import chest
from tests.made_up.dicom import write_series
from tests.made_up.volumes import save_turned
from tests.modeling_radir import tiny

SIZE = {"depth": 12, "height": 16, "width": 16}
SPACING = (3.0, 0.5, 0.75)
FRAMES = [
    "".join(letters)
    for order in itertools.permutations(("SI", "PA", "LR"))
    for letters in itertools.product(*order)
]


def processor(**changes) -> RadIRCTImageProcessor:
    return RadIRCTImageProcessor(**{"size": SIZE, "spacing_mm": [2.5, 0.8, 1.0], **changes})


def pixels(volume, **changes) -> torch.Tensor:
    return processor(**changes)(volume, return_tensors="pt")["pixel_values"]


def chest_volume(seed: int = 0) -> Volume:
    return Volume(chest(seed), SPACING)


# ---- one frame, one grid


def test_there_are_48_frames():
    assert len(set(FRAMES)) == 48


def test_all_48_orders_and_flips_of_a_file_give_the_same_pixels(tmp_path):
    expected = pixels(chest_volume())
    assert expected.shape == (1, 1, 12, 16, 16)
    assert expected.dtype == torch.float32
    assert expected.unique().numel() > 100
    for codes in FRAMES:
        assert torch.equal(pixels(save_turned(tmp_path / "a.nii", chest_volume(), codes)), expected), codes


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    st.tuples(*[st.integers(1, 7)] * 3),
    st.tuples(*[st.floats(0.3, 4)] * 3),
    st.sampled_from(FRAMES),
    st.sampled_from(["SPL", "LPS", "IAR"]),
)
def test_odd_sizes_and_spacings_do_not_depend_on_the_stored_order(shape, spacing_mm, codes, frame):
    volume = Volume(np.random.default_rng(0).normal(0, 800, shape).astype(np.float32), spacing_mm)
    small = {"size": {"depth": 5, "height": 4, "width": 3}, "orientation": frame}
    turned = Volume(np.ascontiguousarray(volume.in_frame(codes).hu), volume.in_frame(codes).spacing_mm, codes)
    assert torch.equal(pixels(turned, **small), pixels(volume, **small))


def test_a_dicom_series_and_a_nifti_file_of_one_scan_give_the_same_pixels(tmp_path):
    write_series(tmp_path / "series", chest(), SPACING)
    save_turned(tmp_path / "a.nii.gz", chest_volume(), "ILA")
    from_series = pixels(tmp_path / "series")
    assert torch.equal(from_series, pixels(tmp_path / "a.nii.gz"))
    assert torch.equal(from_series, pixels(str(tmp_path / "series")))
    assert torch.equal(from_series, pixels(chest_volume()))


def test_an_oblique_scan_is_taken_along_the_nearest_axes(tmp_path):
    cos, sin = np.cos(0.3), np.sin(0.3)
    turn = np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]])
    assert torch.equal(
        pixels(save_turned(tmp_path / "a.nii", chest_volume(), "PRI", turn)), pixels(chest_volume())
    )


def test_a_volume_without_orientation_is_taken_as_it_is():
    assert torch.equal(pixels(Volume(chest(), SPACING, "")), pixels(chest_volume()))


def test_sections_rise_rows_run_to_the_back_and_columns_to_the_left():
    hu = np.full((4, 4, 4), -1000, np.int16)
    hu[3, 0, 0] = 1000  # in the file's order: head, front, right
    size = {"depth": 4, "height": 4, "width": 4}
    plain = {"size": size, "spacing_mm": [1, 1, 1]}
    at_head_front_right = Volume(hu, (1, 1, 1), "SPL")
    turned = at_head_front_right.in_frame("RIA")
    assert pixels(turned, **plain)[0, 0, 3, 0, 0] == 1
    assert pixels(turned, **plain).sum() == -62
    assert pixels(turned, **plain, orientation="IAR")[0, 0, 0, 3, 3] == 1


def test_the_number_of_voxels_is_rounded_to_the_nearest_or_down():
    volume = Volume(np.zeros((7, 5, 3), np.int16), (1.0, 1.0, 1.0))
    inside = {"size": {"depth": 9, "height": 9, "width": 9}, "spacing_mm": [1.5, 1.5, 4.0]}
    nearest, down = (pixels(volume, **inside, rounding=how)[0, 0] == 0 for how in ("nearest", "down"))
    assert [int(nearest.any(dim=2).any(dim=axis).sum()) for axis in (1, 0)] == [5, 3]  # 4.67 and 3.33
    assert [int(down.any(dim=2).any(dim=axis).sum()) for axis in (1, 0)] == [4, 3]
    assert nearest.sum() == 5 * 3 * 1  # 0.75 of a voxel is one
    assert down.sum() == 4 * 3 * 1  # and so is what would be none


def test_hu_become_the_range_and_air_pads():
    hu = np.array([-2000, -1000, -500, 0, 250, 1000, 3000], np.int16).reshape(1, 1, 7)
    around = {"size": {"depth": 1, "height": 1, "width": 9}, "spacing_mm": [1, 1, 1]}
    values = pixels(Volume(hu, (1, 1, 1)), **around).ravel().tolist()
    assert values == [-1, -1, -1, -0.5, 0, 0.25, 1, 1, -1]
    lung = pixels(Volume(hu, (1, 1, 1)), **around, hu_min=-1000, hu_max=250).ravel()
    torch.testing.assert_close(lung, torch.tensor([-1, -1, -1, -0.2, 0.6, 1, 1, 1, -1]))


def test_a_single_section_and_a_batch_of_one_are_volumes_too():
    one = Volume(chest()[:1], SPACING)
    assert pixels(one).shape == (1, 1, 12, 16, 16)
    together = pixels([chest_volume(0), one, chest_volume(1)])
    assert together.shape == (3, 1, 12, 16, 16)
    for row, volume in enumerate((chest_volume(0), one, chest_volume(1))):
        assert torch.equal(together[row : row + 1], pixels([volume]))
    assert not torch.equal(together[0], together[2])


# ---- the prepared form


@pytest.mark.parametrize(("whole_hu", "dtype"), [(True, np.int16), (False, np.float32)])
def test_training_from_the_prepared_form_equals_use_from_the_file(tmp_path, whole_hu, dtype):
    path = save_turned(tmp_path / "a.nii.gz", chest_volume(), "LAI")
    made = processor(whole_hu=whole_hu)
    direct = made(path, return_tensors="pt")["pixel_values"]
    prepared = made.prepare(path)
    assert (prepared.shape, prepared.dtype) == ((12, 16, 16), dtype)
    assert made.save_prepared(path, tmp_path / "cache" / "a.npy") == tmp_path / "cache" / "a.npy"
    made.save_prepared(prepared, tmp_path / "b.npy")
    mapped = made.load_prepared(tmp_path / "b.npy")
    assert isinstance(mapped, np.memmap)
    for form in (prepared, mapped, tmp_path / "cache" / "a.npy", torch.from_numpy(prepared)):
        assert torch.equal(made(form, return_tensors="pt")["pixel_values"], direct)
        np.testing.assert_array_equal(made.prepare(form), prepared)
    mixed = made([path, mapped], return_tensors="pt")["pixel_values"]
    assert torch.equal(mixed[0], mixed[1])


def test_rounding_to_whole_hu_costs_half_a_hu_at_most():
    difference = (pixels(chest_volume()) - pixels(chest_volume(), whole_hu=False)).abs().max()
    assert 0 < difference <= 0.5 / 1000 + 1e-6


def test_an_interrupted_write_leaves_nothing(tmp_path, monkeypatch):
    def fail(*args, **kwargs):
        raise OSError("the disk is full")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="disk is full"):
        processor().save_prepared(chest_volume(), tmp_path / "a.npy")
    assert not list(tmp_path.iterdir())


def test_what_was_prepared_otherwise_is_refused(tmp_path):
    made = processor()
    made.save_prepared(chest_volume(), tmp_path / "a.npy")
    other = processor(size={**SIZE, "depth": 10})
    with pytest.raises(ValueError, match=r"a\.npy has the shape \(12, 16, 16\) and type int16"):
        other.load_prepared(tmp_path / "a.npy")
    with pytest.raises(ValueError, match="prepare it with these settings"):
        processor(whole_hu=False)(tmp_path / "a.npy")
    with pytest.raises(ValueError, match=r"values from -\d+ to \d+, a prepared volume -900 to 1000"):
        processor(hu_min=-900)(made.prepare(chest_volume()))
    with pytest.raises(ValueError, match=r"to a \.npy file"):
        made.save_prepared(chest_volume(), tmp_path / "a.bin")
    (tmp_path / "torn.npy").write_bytes((tmp_path / "a.npy").read_bytes()[:1000])
    for name in ("torn.npy", "absent.npy"):
        with pytest.raises(ValueError, match=f"{name} cannot be read as a prepared volume"):
            made.load_prepared(tmp_path / name)


# ---- settings


def test_settings_are_saved_and_come_back_through_every_door(tmp_path):
    changed = {
        "hu_min": -1200,
        "hu_max": 800,
        "orientation": "LPS",
        "assumed_spacing_mm": (2.0, 1.0, 1.0),
        "rounding": "down",
        "whole_hu": False,
    }
    made = processor(**changed)
    RadIRProcessor(made, tiny.tokenizer()).save_pretrained(tmp_path / "both")
    made.save_pretrained(tmp_path / "alone")
    tiny.config().save_pretrained(tmp_path / "both")  # a folder of a model of any tower
    expected = made(chest_volume(), return_tensors="pt")["pixel_values"]
    for again in (
        AutoImageProcessor.from_pretrained(tmp_path / "both"),
        AutoImageProcessor.from_pretrained(tmp_path / "alone"),
        AutoProcessor.from_pretrained(tmp_path / "both").image_processor,
        RadIRProcessor.from_pretrained(tmp_path / "both").image_processor,
    ):
        assert isinstance(again, RadIRCTImageProcessor)
        assert again.to_dict() == made.to_dict()
        assert torch.equal(again(chest_volume(), return_tensors="pt")["pixel_values"], expected)


def test_both_kinds_of_processor_come_back_as_their_own_kind(tmp_path):
    for kind in (RadIRCTImageProcessor, RadIRCXRImageProcessor):
        RadIRProcessor(kind(), tiny.tokenizer()).save_pretrained(tmp_path / kind.__name__)
        assert type(AutoImageProcessor.from_pretrained(tmp_path / kind.__name__)) is kind
        assert type(AutoProcessor.from_pretrained(tmp_path / kind.__name__).image_processor) is kind


def test_settings_can_be_overridden_in_a_call():
    smaller = {"size": {"depth": 3, "height": 4, "width": 5}, "hu_max": 500}
    expected = pixels(chest_volume(), **smaller)
    assert expected.shape == (1, 1, 3, 4, 5)
    assert torch.equal(processor()(chest_volume(), return_tensors="pt", **smaller)["pixel_values"], expected)
    both = RadIRProcessor(processor(), tiny.tokenizer())
    called = both(images=chest_volume(), text="heart", return_tensors="pt", **smaller)
    assert torch.equal(called["pixel_values"], expected)
    assert both(images=[chest_volume()], return_tensors="np")["pixel_values"].shape == (1, 1, 12, 16, 16)


def test_both_processors_load_where_the_package_is_not_installed(tmp_path):
    save_turned(tmp_path / "a.nii.gz", chest_volume(), "LPS")
    write_series(tmp_path / "series", chest(), SPACING)
    RadIRProcessor(processor(), tiny.tokenizer()).save_pretrained(tmp_path / "ct")
    tiny.processor().save_pretrained(tmp_path / "cxr")
    script = (
        "import sys, torch, numpy as np\n"
        "from transformers import AutoImageProcessor, AutoProcessor\n"
        "ct = AutoProcessor.from_pretrained('ct', trust_remote_code=True)\n"
        "image = AutoImageProcessor.from_pretrained('ct', trust_remote_code=True)\n"
        "cxr = AutoImageProcessor.from_pretrained('cxr', trust_remote_code=True)\n"
        "assert 'modeling_radir' not in sys.modules\n"
        "assert not {'nibabel', 'pydicom'} & set(sys.modules)\n"
        "assert type(cxr).__name__ == 'RadIRCXRImageProcessor'\n"
        "found = [p(images=x, return_tensors='pt')['pixel_values']\n"
        "         for p in (ct, image) for x in ('a.nii.gz', 'series')]\n"
        "torch.save(found, 'out.pt')\n"
    )
    environment = {
        "HF_HOME": str(tmp_path / "home"),
        "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": "1",
        "PATH": "",
    }
    run = [sys.executable, "-c", script]
    done = subprocess.run(run, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    expected = pixels(chest_volume())
    found = torch.load(tmp_path / "out.pt", weights_only=True)
    assert len(found) == 4
    assert all(torch.equal(each, expected) for each in found)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"size": {"height": 4, "width": 4}}, "size is"),
        ({"size": {"depth": 0, "height": 4, "width": 4}}, "size is"),
        ({"spacing_mm": [1.0, 1.0]}, "spacing_mm is"),
        ({"spacing_mm": [1.0, -1.0, 1.0]}, "spacing_mm is"),
        ({"assumed_spacing_mm": [1.0]}, "assumed_spacing_mm is"),
        ({"hu_min": 1000}, "hu_min and hu_max are 1000 and 1000"),
        ({"hu_max": 40000}, "hu_min and hu_max"),
        ({"hu_max": 0.5}, "hu_min and hu_max"),
        ({"orientation": "SPP"}, "orientation is 'SPP'"),
        ({"rounding": "up"}, "rounding is 'up'"),
    ],
)
def test_settings_that_cannot_work_are_refused(changes, words):
    with pytest.raises(ValueError, match=words):
        processor(**changes)


@pytest.mark.parametrize(
    ("volume", "words"),
    [
        ([], "the list is empty"),
        (3.5, "a volume is a float"),
        (Image.new("L", (4, 4)), "a volume is a Image; give the path of a NIfTI file"),
        (np.zeros((12, 16), np.int16), r"shape \(12, 16\).*give Volume\(hu, spacing_mm\)"),
        (chest(), r"shape \(10, 16, 20\).*give Volume\(hu, spacing_mm\)"),
        (np.full((12, 16, 16), 2000, np.int16), r"values from 2000 to 2000.*Volume\(hu, spacing_mm\)"),
    ],
)
def test_what_is_no_volume_is_refused_with_a_sentence(volume, words):
    with pytest.raises(ValueError, match=words):
        pixels(volume)


def test_files_that_are_no_volume_are_refused_with_a_sentence(tmp_path):
    Image.new("L", (4, 4)).save(tmp_path / "a.png")
    with pytest.raises(ValueError, match=r"a\.png: this is no volume.*RadIRCXRImageProcessor"):
        pixels(tmp_path / "a.png")
    hu = chest().astype(np.float32)
    hu[0, 0, 0] = np.nan
    nibabel.save(nibabel.Nifti1Image(hu.T, np.eye(4)), tmp_path / "nan.nii")
    with pytest.raises(ValueError, match=r"nan\.nii: .*NaN"):
        pixels(tmp_path / "nan.nii")


# ---- the released code


@pytest.fixture(scope="module")
def released(shared_data):
    path = shared_data.parent / "reference" / "released-checkpoint" / "vectors" / "preprocessing.safetensors"
    if not path.is_file():
        pytest.skip(f"the released code's numbers are not at {path}")
    return load_file(path)


def released_pixels(path: Path, stored: torch.Tensor) -> torch.Tensor:
    """Through a file, whose affine the released code ignores."""
    affine = np.diag([-5.0, 2.0, 7.0, 1.0])[[1, 0, 2, 3]]
    nibabel.save(nibabel.Nifti1Image(stored.numpy(), affine), path)
    return RadIRCTImageProcessor.preset("released-ct")(path, return_tensors="pt")["pixel_values"]


def test_the_released_preset_gives_the_released_codes_pixels_with_padding(released, tmp_path):
    found = released_pixels(tmp_path / "a.nii.gz", released["ct_small_hu_int16"])
    assert found.shape == (1, 1, 240, 480, 480)
    region = found[0, 0, 111 : 111 + 18, 225 : 225 + 29, 228 : 228 + 24]
    torch.testing.assert_close(region, released["ct_small_region"], atol=1e-6, rtol=0)
    region.fill_(-1)
    assert (found == -1).all()


def test_the_released_preset_gives_the_released_codes_pixels_with_cropping(released, tmp_path):
    found = released_pixels(tmp_path / "a.nii", released["ct_crop_hu_int16"])[0, 0]
    depth, height, width = released["ct_crop_index_dhw"].T
    torch.testing.assert_close(found[depth, height, width], released["ct_crop_values"], atol=1e-6, rtol=0)
    inside = (found != -1).nonzero()
    assert inside.amin(dim=0).tolist() == [0, 0, 235]
    assert inside.amax(dim=0).tolist() == [239, 479, 244]
    assert found.sum(dtype=torch.float64).item() == pytest.approx(-54010806.423265554, abs=0.1)


def test_the_released_preset_is_saved_and_can_be_changed(tmp_path):
    preset = RadIRCTImageProcessor.preset("released-ct", size=SIZE)
    preset.save_pretrained(tmp_path)
    assert AutoImageProcessor.from_pretrained(tmp_path).to_dict() == preset.to_dict()
    true_spacing = RadIRCTImageProcessor.preset("released-ct", assumed_spacing_mm=None, orientation="SRA")
    assert true_spacing.assumed_spacing_mm is None
    turned = chest_volume().in_frame("LPS")
    small = {"size": SIZE, "whole_hu": False, "rounding": "down", "spacing_mm": [1.5, 0.75, 0.75]}
    found = true_spacing(turned, return_tensors="pt", size=SIZE)["pixel_values"]
    assert torch.equal(found, pixels(chest_volume(), **small, orientation="SRA"))
    with pytest.raises(ValueError, match=r"unknown preset 'released'.*'released-ct'"):
        RadIRCTImageProcessor.preset("released")
