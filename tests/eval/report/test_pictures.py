"""Pictures: every kind of image, slices of volumes lying as a radiologist sees them and true to length."""

import base64
import io

import numpy as np
import pytest
from PIL import Image
from radir_eval.report.pictures import middle_slices, thumbnail, volume_note

from modeling_radir.volumes import Volume


def opened(uri: str | None) -> Image.Image:
    assert uri is not None
    start = "data:image/jpeg;base64,"
    assert uri.startswith(start)
    return Image.open(io.BytesIO(base64.b64decode(uri[len(start) :])))


@pytest.mark.parametrize("mode", ["L", "RGB", "I;16", "P", "F"])
def test_every_kind_of_image_gets_a_thumbnail(mode: str) -> None:
    grey = np.arange(300 * 200).reshape(300, 200) % 256
    image = (
        Image.fromarray((grey * 200).astype(np.uint16))
        if mode == "I;16"
        else Image.fromarray(grey.astype(np.uint8))
    )
    image = image if mode == "I;16" else image.convert(mode)
    assert opened(thumbnail(image, 60)).size == (40, 60)


def test_what_is_no_image_has_no_thumbnail() -> None:
    assert thumbnail("volumes/v1.nii.gz") is None


def test_slices_lie_as_on_a_viewing_station_whatever_the_order_of_the_axes() -> None:
    """Bright at the head, at the front and at the patient's left, in the planes through the middle."""
    hu = np.full((8, 12, 16), -1350, dtype=np.int16)  # upwards, backwards, leftwards
    hu[7, 6, :] = hu[4, 0, :] = hu[:, 6, 15] = 150  # white
    volume = Volume(hu, (6.0, 3.0, 3.0))  # 48 x 36 x 48 mm
    picture = np.asarray(middle_slices(volume, 84))  # a mm of the slices below is 84 / (48 + 36) = 1 pixel
    assert picture.shape == (63 + 48, 84)  # axial 36 mm at 84 / 48 pixels each, below it 48 mm
    axial, coronal, sagittal = picture[:63], picture[63:, :48], picture[63:, 48:]
    assert axial[1].min() > 200  # the front at the top
    assert axial[34, 83] > 200  # the patient's left at the right
    assert axial[50, :70].max() < 30
    assert coronal[1].min() > 200  # the head at the top
    assert coronal[-1, :40].max() < 30
    assert coronal[30, 47] > 200
    assert sagittal[1, 19] > 200  # the head, in the middle between front and back
    assert sagittal[21, 0] > 200  # the front at the left
    turned = volume.in_frame("LPI")
    np.testing.assert_array_equal(np.asarray(middle_slices(turned, 84)), picture)
    assert opened(thumbnail(turned)).width == 240


def test_the_note_says_which_window_is_shown() -> None:
    assert "lung window (level -600 HU, width 1500 HU)" in volume_note()
