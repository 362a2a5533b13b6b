"""Pictures of every kind come out upright and rising from black to white, or are refused by name."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFile, ImageOps, features

from modeling_radir import RadIRCXRImageProcessor
from modeling_radir.pictures import MAX_PIXELS, begins_picture, read_picture, upright
from tests.made_up.pictures import write_png, write_tiff

RAMP = np.linspace(0, 255, 20 * 30).reshape(20, 30).astype(np.uint8)
DEEP = np.arange(600, dtype=np.uint16).reshape(20, 30) * 100
PLAIN = Image.fromarray(RAMP)
TURNS = {
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


def stretched(values: np.ndarray) -> np.ndarray:
    """To 0..1 by the least and the most, for what differs by a scale alone."""
    numbers = values.astype(np.float64)
    return (numbers - numbers.min()) / (numbers.max() - numbers.min())


@pytest.mark.parametrize("form", ["PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("orientation", TURNS)
def test_every_exif_orientation_comes_out_upright(tmp_path: Path, form: str, orientation: int) -> None:
    turn = TURNS[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    taken = PLAIN.convert("RGB")
    (taken.transpose(turn) if turn is not None else taken).save(
        tmp_path / "image", form, exif=exif, lossless=True
    )
    for source in (tmp_path / "image", (tmp_path / "image").read_bytes()):
        picture = read_picture(source)
        np.testing.assert_array_equal(np.asarray(picture.convert("L")), RAMP)
        np.testing.assert_array_equal(np.asarray(upright(picture)), np.asarray(picture))
    with Image.open(tmp_path / "image") as opened:
        np.testing.assert_array_equal(np.asarray(upright(opened).convert("L")), RAMP)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("white_is_zero", [False, True])
@pytest.mark.parametrize("dtype", ["u1", "u2", "i2", "u4", "i4", "f4"])
def test_deep_tiffs_of_every_kind_rise_from_black_to_white(
    tmp_path: Path, dtype: str, white_is_zero: bool, order: str
) -> None:
    rising = (DEEP * 70_000.0 if dtype == "u4" else RAMP if dtype == "u1" else DEEP // 2).astype(dtype)
    stored = np.iinfo(rising.dtype).max - rising if rising.dtype.kind == "u" else -rising
    write_tiff(tmp_path / "a.tif", stored if white_is_zero else rising, white_is_zero, order)
    picture = read_picture(tmp_path / "a.tif")
    np.testing.assert_allclose(stretched(np.asarray(picture)), stretched(rising), atol=1e-7)
    assert np.asarray(picture).dtype.isnative
    np.testing.assert_array_equal(np.asarray(upright(picture)), np.asarray(picture))


def test_a_negative_of_floats_within_0_to_1_stays_there(tmp_path: Path) -> None:
    stored = np.linspace(0.2, 0.9, 12, dtype=np.float32).reshape(3, 4)
    write_tiff(tmp_path / "a.tif", stored, white_is_zero=True)
    np.testing.assert_allclose(np.asarray(read_picture(tmp_path / "a.tif")), 1 - stored)


def test_a_16_bit_png_keeps_its_values(tmp_path: Path) -> None:
    Image.fromarray(DEEP).save(tmp_path / "a.png")
    np.testing.assert_array_equal(np.asarray(read_picture(tmp_path / "a.png")), DEEP)


def grey(path: Path) -> np.ndarray:
    processor = RadIRCXRImageProcessor(size={"height": 20, "width": 30})
    levels = (processor(path, return_tensors="np")["pixel_values"][0, 0] + 1) * 127.5
    return np.rint(levels).astype(np.uint8)


@pytest.mark.parametrize(
    ("form", "mode"),
    [
        *(("PNG", mode) for mode in ("1", "L", "P", "LA", "RGB", "RGBA")),
        *(("TIFF", mode) for mode in ("1", "L", "P", "LA", "RGB", "RGBA", "CMYK")),
        *(("GIF", "P"), ("BMP", "RGB"), ("PPM", "L"), ("WEBP", "RGBA"), ("JPEG2000", "L")),
    ],
)
def test_every_mode_of_8_bits_gives_its_grey_levels(tmp_path: Path, form: str, mode: str) -> None:
    if form == "JPEG2000" and not features.check("jpg_2000"):
        pytest.skip("Pillow was built without JPEG 2000")
    kept = Image.fromarray((RAMP > 127).astype(np.uint8) * 255) if mode == "1" else PLAIN
    image = kept.convert("RGB") if mode == "CMYK" else kept
    image.convert(mode).save(tmp_path / "image", form, lossless=True)
    np.testing.assert_array_equal(grey(tmp_path / "image"), np.asarray(kept.convert("L")))


def test_colours_that_cannot_become_grey_are_refused_by_name(tmp_path: Path) -> None:
    Image.new("LAB", (4, 3)).save(tmp_path / "a.tif")
    with pytest.raises(ValueError, match=r"a\.tif: its colours \(LAB\) cannot become grey"):
        grey(tmp_path / "a.tif")


def test_what_is_transparent_keeps_its_grey_level(tmp_path: Path) -> None:
    transparent = np.dstack([RAMP, np.zeros_like(RAMP)])
    Image.fromarray(transparent, "LA").save(tmp_path / "a.png")
    np.testing.assert_array_equal(grey(tmp_path / "a.png"), RAMP)


def test_the_content_tells_the_format_not_the_name(tmp_path: Path) -> None:
    PLAIN.save(tmp_path / "a.jpg", "PNG")
    np.testing.assert_array_equal(np.asarray(read_picture(tmp_path / "a.jpg")), RAMP)


def test_pillow_never_sees_postscript(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n")
    Image.init()
    accept = Image.OPEN["EPS"][1]

    def started(*arguments: object) -> object:
        raise AssertionError("Pillow would start Ghostscript")

    monkeypatch.setitem(Image.OPEN, "EPS", (started, accept))
    for source in (tmp_path / "a.png", (tmp_path / "a.png").read_bytes()):
        with pytest.raises(ValueError, match="of another format than PNG, JPEG"):
            read_picture(source, "a.png")


@pytest.mark.parametrize("form", ["TIFF", "GIF", "PNG", "WEBP"])
def test_files_of_several_frames_are_refused(tmp_path: Path, form: str) -> None:
    PLAIN.save(tmp_path / "image", form, save_all=True, append_images=[ImageOps.invert(PLAIN)])
    with pytest.raises(ValueError, match=r"image holds 2 frames or pages, and one image is needed"):
        read_picture(tmp_path / "image")
    with Image.open(tmp_path / "image") as opened, pytest.raises(ValueError, match="holds 2 frames"):
        RadIRCXRImageProcessor()(opened)


def test_of_a_photograph_with_its_preview_the_photograph_is_taken(tmp_path: Path) -> None:
    photograph = PLAIN.convert("RGB")
    photograph.save(tmp_path / "a.jpg", "MPO", save_all=True, append_images=[ImageOps.invert(photograph)])
    assert np.abs(np.asarray(read_picture(tmp_path / "a.jpg").convert("L")).astype(int) - RAMP).max() < 20


def test_colours_of_16_bits_are_refused_not_halved(tmp_path: Path) -> None:
    for colour, channels in ((2, 3), (4, 2), (6, 4)):
        write_png(tmp_path / "a.png", 4, 2, 16, colour, (b"\0" + bytes(8 * channels)) * 2)
        with pytest.raises(ValueError, match=r"a\.png holds colours or alpha of 16 bits"):
            read_picture(tmp_path / "a.png")


@pytest.mark.filterwarnings("error::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("size", [(20_000, 10_000), (10_000, 10_000), (MAX_PIXELS + 1, 1)])
def test_images_too_large_to_read_are_refused_before_they_are_decoded(
    tmp_path: Path, size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda image: pytest.fail("it was decoded"))
    write_png(tmp_path / "a.png", *size, 8, 0)
    with pytest.raises(ValueError, match=r"a\.png holds .* pixels.* 89,478,485"):
        read_picture(tmp_path / "a.png")
    whole = bytearray(write_tiff(tmp_path / "a.tif", RAMP).read_bytes())
    whole[18:22], whole[30:34] = (side.to_bytes(4, "little") for side in size)  # its width and height
    with pytest.raises(ValueError, match=r"the image holds .* pixels"):
        read_picture(bytes(whole))


def test_an_image_just_small_enough_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("modeling_radir.pictures.MAX_PIXELS", 600)
    PLAIN.save(tmp_path / "a.png")
    assert read_picture(tmp_path / "a.png").size == (30, 20)
    monkeypatch.setattr("modeling_radir.pictures.MAX_PIXELS", 599)
    with pytest.raises(ValueError, match="holds 30 x 20 pixels, more than the 599"):
        read_picture(tmp_path / "a.png")


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", r"is empty \(0 bytes\)"),
        (b"no picture at all", "cannot be read as an image: it is damaged, or of another format than PNG"),
        (b"II*\0\x08\0\0\0", "cannot be read as an image"),
        (b"\x89PNG\r\n\x1a\n", "cannot be read as an image"),
        (b"GIF89a", "cannot be read as an image"),
        (b"\xff\xd8\xff\xe0", "cannot be read as an image"),
        (b"BM" + b"\0" * 60, "cannot be read as an image"),
        (b"P5 999 999 255\n", "cannot be read as an image"),
    ],
)
def test_what_is_no_picture_is_refused_by_name(tmp_path: Path, content: bytes, words: str) -> None:
    (tmp_path / "a.png").write_bytes(content)
    for source, name in ((tmp_path / "a.png", None), (content, "the image of study 7")):
        with pytest.raises(ValueError, match=f"^{name or str(tmp_path / 'a.png')} ({words})"):
            read_picture(source, name)


@pytest.mark.parametrize("form", ["PNG", "JPEG", "TIFF", "GIF", "WEBP", "BMP", "JPEG2000"])
@pytest.mark.parametrize("share", [0.3, 0.8])
def test_truncated_files_are_refused_by_name(tmp_path: Path, form: str, share: float) -> None:
    whole = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (100, 100), dtype=np.uint8)
    Image.fromarray(noise).save(whole, form)
    (tmp_path / "a").write_bytes(whole.getvalue()[: int(len(whole.getvalue()) * share)])
    with pytest.raises(ValueError, match=f"^{tmp_path / 'a'} cannot be read as an image"):
        read_picture(tmp_path / "a")


def test_files_that_are_not_there_or_closed_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ValueError, match=r"absent\.png is no file"):
        read_picture(tmp_path / "absent.png")
    PLAIN.save(tmp_path / "a.png")

    def refuse(*arguments: object, **named: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(ValueError, match=r"a\.png cannot be opened \(Permission denied\)"):
        read_picture(tmp_path / "a.png")


@pytest.mark.parametrize("form", ["PNG", "JPEG", "TIFF", "GIF", "WEBP", "JPEG2000"])
def test_pictures_are_known_by_their_first_bytes(form: str) -> None:
    whole = io.BytesIO()
    PLAIN.save(whole, form)
    assert begins_picture(whole.getvalue()[:12])
    assert not begins_picture(b"no picture at all")
