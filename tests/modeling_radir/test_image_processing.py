"""Images of every kind become the same pixel values."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from transformers import AutoImageProcessor

from modeling_radir import RadIRCXRImageProcessor
from tests.made_up.dicom import write_dicom
from tests.modeling_radir import tiny

SIZE = {"height": 32, "width": 32}


def _pixels(image, **settings):
    return RadIRCXRImageProcessor(**{"size": SIZE, **settings})(image, return_tensors="pt")["pixel_values"]


def _ramp(height=40, width=50):
    return np.linspace(0, 255, height * width).reshape(height, width).astype(np.uint8)


def test_every_8_bit_form_of_an_image_gives_the_same_pixels(tmp_path):
    ramp = _ramp()
    Image.fromarray(ramp).save(tmp_path / "ramp.png")
    colour = np.stack([ramp] * 3, axis=-1)
    forms = [Image.fromarray(ramp), colour, Image.fromarray(colour), np.moveaxis(colour, -1, 0)]
    forms += [tmp_path / "ramp.png", str(tmp_path / "ramp.png"), ramp[..., None], torch.from_numpy(ramp)]
    expected = _pixels(ramp)
    assert expected.shape == (1, 1, 32, 32)
    assert expected.dtype == torch.float32
    for form in forms:
        assert torch.equal(_pixels(form), expected)
    torch.testing.assert_close(_pixels(ramp / np.float32(255)), expected, atol=1e-6, rtol=0)


def test_8_bit_is_scaled_by_its_range_not_by_its_content():
    assert torch.equal(_pixels(np.zeros((32, 32), np.uint8)), torch.full((1, 1, 32, 32), -1.0))
    assert torch.equal(_pixels(np.full((32, 32), 255, np.uint8)), torch.ones(1, 1, 32, 32))


def test_16_bit_keeps_its_depth_and_spans_the_range(tmp_path):
    deep = np.arange(1000, 1000 + 32 * 32, dtype=np.uint16).reshape(32, 32)
    Image.fromarray(deep).save(tmp_path / "deep.png")
    from_file = _pixels(tmp_path / "deep.png")
    assert torch.equal(from_file, _pixels(deep))
    assert (from_file.min(), from_file.max()) == (-1.0, 1.0)
    assert from_file.unique().numel() == 32 * 32  # 8 bits would leave 256
    assert torch.equal(_pixels(np.full((32, 32), 7, np.uint16)), torch.full((1, 1, 32, 32), -1.0))


def test_jpeg_is_read(tmp_path):
    Image.fromarray(_ramp()).save(tmp_path / "ramp.jpg", quality=95)
    assert (_pixels(tmp_path / "ramp.jpg") - _pixels(_ramp())).abs().mean() < 0.02


def test_aspect_is_stretched_or_kept_with_black_bars():
    wide = np.full((16, 64), 255, np.uint8)
    assert (_pixels(wide) == 1).all()
    kept = _pixels(wide, keep_aspect=True)[0, 0]
    assert (kept[12:20] == 1).all()
    assert (kept[:12] == -1).all()
    assert (kept[20:] == -1).all()


def test_three_channels_repeat_the_grey_image():
    pixels = _pixels(_ramp(), num_channels=3)
    assert pixels.shape == (1, 3, 32, 32)
    assert torch.equal(pixels[:, 0], pixels[:, 2])


def test_settings_are_saved_and_can_be_overridden_in_a_call(tmp_path):
    RadIRCXRImageProcessor(
        size={"height": 24, "width": 16}, keep_aspect=True, num_channels=3
    ).save_pretrained(tmp_path)
    tiny.config().save_pretrained(tmp_path)
    again = AutoImageProcessor.from_pretrained(tmp_path)
    assert isinstance(again, RadIRCXRImageProcessor)
    assert (dict(again.size), again.keep_aspect, again.num_channels) == ({"height": 24, "width": 16}, True, 3)
    assert again([_ramp()] * 2, return_tensors="pt")["pixel_values"].shape == (2, 3, 24, 16)
    assert again(_ramp(), num_channels=1, return_tensors="np")["pixel_values"].shape == (1, 1, 24, 16)


def test_files_that_cannot_be_read_are_named(tmp_path):
    (tmp_path / "torn.png").write_bytes(b"\x89PNG\r\n\x1a\n but no image")
    whole = tmp_path / "whole.png"
    Image.fromarray(_ramp(200, 200)).save(whole)
    (tmp_path / "cut.png").write_bytes(whole.read_bytes()[:60])
    (tmp_path / "scan.dcm").write_bytes(b"x")
    (tmp_path / "no_suffix").write_bytes(b"\0" * 128 + b"DICM")
    for name, message in {
        "torn.png": "torn.png cannot be read",
        "cut.png": "cut.png cannot be read",
        "scan.dcm": "scan.dcm: not a readable DICOM file",
        "no_suffix": "no_suffix: ",
        "scan.nii.gz": "scan.nii.gz is a volume.*RadIRCTImageProcessor",
        ".": "folder, and one radiograph is needed",
        "absent.png": "no file .*absent.png",
    }.items():
        with pytest.raises(ValueError, match=message):
            _pixels(tmp_path / name)


@pytest.mark.parametrize("name", ["image.dcm", "image"])
def test_dicom_is_windowed_inverted_and_keeps_its_depth(tmp_path, name):
    stored = np.arange(1024, dtype=np.uint16).reshape(32, 32) * 4
    fields = {"WindowCenter": 2048, "WindowWidth": 4096}
    write_dicom(tmp_path / name, stored, "MONOCHROME1", 12, **fields)
    expected = 1 - 2 * torch.from_numpy(stored.astype(np.float32)) / 4095  # 0 is white
    pixels = _pixels(tmp_path / name)[0, 0]
    torch.testing.assert_close(pixels, expected, atol=1e-6, rtol=0)
    assert pixels.unique().numel() == 1024
    write_dicom(tmp_path / name, stored // 2 + 500, "MONOCHROME2", 12, **fields)
    low, high = 500 * 2 / 4095 - 1, (4092 // 2 + 500) * 2 / 4095 - 1  # its window counts, not its content
    torch.testing.assert_close(_pixels(tmp_path / name).aminmax(), (torch.tensor(low), torch.tensor(high)))


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"NumberOfFrames": 3}, "3 frames"),
        ({"PhotometricInterpretation": "RGB"}, "RGB: expected MONOCHROME1"),
    ],
)
def test_dicom_that_is_no_single_grey_image_is_named_and_refused(tmp_path, fields, words):
    write_dicom(tmp_path / "many.dcm", np.zeros((4, 4), np.uint16), "MONOCHROME2", 12, **fields)
    with pytest.raises(ValueError, match=f"many.dcm: .*{words}"):
        _pixels(tmp_path / "many.dcm")


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((2, 3, 4, 5), np.uint8), "give several images as a list"),
        (np.zeros((7, 8, 9), np.uint8), "give several images as a list"),
        (np.full((4, 4), np.nan), "NaN"),
        (np.zeros((0, 4), np.uint8), "at least one"),
        (np.zeros((4, 4), complex), "complex"),
        (3.5, "float"),
        ([], "empty"),
    ],
)
def test_what_is_no_image_is_refused_with_a_sentence(image, message):
    with pytest.raises(ValueError, match=message):
        _pixels(image)


def test_an_unknown_preset_is_refused_with_the_nearest():
    with pytest.raises(ValueError, match="unknown preset 'release-cxr'; the nearest known: 'released-cxr'"):
        RadIRCXRImageProcessor.preset("release-cxr")


@pytest.mark.parametrize("settings", [{"num_channels": 2}, {"size": {"shortest_edge": 5}}])
def test_settings_that_cannot_work_are_refused(settings):
    with pytest.raises(ValueError, match="is needed"):
        RadIRCXRImageProcessor(**settings)


@pytest.fixture(scope="module")
def shared_vectors(shared_data):
    folder = shared_data.parent / "reference" / "released-checkpoint" / "vectors"
    if not folder.is_dir():
        pytest.skip(f"the released code's numbers are not at {folder}")
    return folder


@pytest.fixture(scope="module")
def released(shared_vectors):
    return load_file(shared_vectors / "preprocessing.safetensors")


def test_the_released_preset_gives_the_released_codes_pixels(released, shared_vectors, tmp_path):
    processor = RadIRCXRImageProcessor.preset("released-cxr")
    processor.save_pretrained(tmp_path)
    for again in (processor, AutoImageProcessor.from_pretrained(tmp_path)):
        pixels = again(released["cxr_small_uint8"].numpy(), return_tensors="pt")["pixel_values"]
        assert pixels.shape == (1, 1, 480, 480)
        torch.testing.assert_close(
            pixels[0, 0, ::8, ::8], released["cxr_small_resized_every8"], atol=1e-6, rtol=0
        )
    summary = {"mean": pixels.mean(), "std": pixels.std(), "min": pixels.min(), "max": pixels.max()}
    expected = json.loads((shared_vectors / "preprocessing.json").read_text())["cxr_small_resized"]
    for name, value in summary.items():
        assert value.item() == pytest.approx(expected[name], abs=1e-5), name


def test_the_released_preset_shrinks_as_pil_does():
    ramp = _ramp(1200, 900)
    pixels = RadIRCXRImageProcessor.preset("released-cxr")(ramp, return_tensors="pt")["pixel_values"]
    resized = np.asarray(Image.fromarray(ramp).resize((480, 480), Image.Resampling.BILINEAR))
    torch.testing.assert_close(pixels[0, 0], torch.from_numpy(resized / 127.5 - 1).float(), atol=1e-6, rtol=0)


def test_the_default_resize_differs_from_the_released_one_by_rounding_alone(released):
    pixels = _pixels(released["cxr_small_uint8"].numpy(), size={"height": 480, "width": 480})[0, 0, ::8, ::8]
    # That code resizes in 8 bits, so half a grey level is lost: 0.5 / 127.5, and as much again in two passes.
    torch.testing.assert_close(pixels, released["cxr_small_resized_every8"], atol=1.01 / 127.5, rtol=0)


def test_colour_becomes_grey_as_in_the_released_code(released):
    grey = _pixels(released["rgb_uint8"].numpy(), size={"height": 9, "width": 7})
    torch.testing.assert_close(grey[0, 0], released["rgb_to_L"].float() / 127.5 - 1, atol=1e-6, rtol=0)
