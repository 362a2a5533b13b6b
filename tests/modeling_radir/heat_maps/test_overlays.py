"""Pictures of heat-maps: right place, right size, right labels."""

import matplotlib
import numpy as np
import pytest
import torch

from modeling_radir.heat_maps.integrated_gradients import attention_map
from modeling_radir.heat_maps.overlays import WINDOWS, orthogonal_slices, overlay
from modeling_radir.image_processing_radir_ct import RadIRCTImageProcessor
from modeling_radir.volumes import Volume
from tests.modeling_radir import tiny

SPACING = (5.0, 1.0, 2.0)


def one_hot(shape: tuple[int, ...], where: tuple[int, ...]) -> torch.Tensor:
    heat = torch.zeros(shape)
    heat[where] = 1
    return heat


def scan(shape: tuple[int, int, int] = (8, 12, 10), codes: str = "SPL") -> Volume:
    hu = np.random.default_rng(0).integers(-1000, 500, shape).astype(np.int16)
    return Volume(hu, SPACING, codes)


def test_an_overlay_has_the_radiographs_own_size_and_shows_it_where_there_is_no_heat():
    image = np.random.default_rng(0).integers(0, 256, (50, 81), dtype=np.uint8)
    picture = np.asarray(overlay(image, one_hot((4, 4), (0, 3))))
    assert picture.shape == (50, 81, 3)
    np.testing.assert_array_equal(picture[25:, :40], np.repeat(image[25:, :40, None], 3, axis=2))


def test_the_hottest_pixel_is_covered_by_the_opacity_in_the_last_colour():
    picture = np.asarray(overlay(np.full((40, 40), 100, np.uint8), one_hot((4, 4), (0, 0)), opacity=0.25))
    last = np.array(matplotlib.colormaps["inferno"](1.0)[:3])
    np.testing.assert_array_equal(picture[0, 0], np.rint(0.75 * 100 + 0.25 * 255 * last))


def test_an_overlay_leaves_the_processors_padding_out():
    processor = tiny.processor()  # 32 x 32
    processor.image_processor.keep_aspect = True
    wide = np.zeros((16, 64), np.uint8)  # shown in rows 12 to 19 of 32
    heat = one_hot((4, 4), (1, 3))  # rows 8 to 15: its warm half lies on the picture's upper half
    red = np.asarray(overlay(wide, heat, processor))[..., 0].astype(int)
    assert red.shape == (16, 64)
    assert red[0, 63] > red[15, 63] and red[0, 63] == red.max()
    assert red[:, :31].max() == 0


def test_slices_go_through_the_maximum_in_the_window_that_is_stated():
    volume, heat = scan(), one_hot((4, 6, 5), (3, 1, 2))
    figure = orthogonal_slices(volume, heat, window="mediastinum")
    level, width = WINDOWS["mediastinum"]
    titles = [axes.get_title() for axes in figure.axes[:3]]
    # Each cell is two voxels wide; both have the same heat, and the first of them is taken.
    assert titles == ["axial, slice 8 of 8", "coronal, slice 3 of 12", "sagittal, slice 5 of 10"]
    expected = np.clip((volume.hu[7].astype(float) - (level - width / 2)) / width, 0, 1)
    np.testing.assert_allclose(figure.axes[0].images[0].get_array(), expected, atol=1e-6)
    assert "level 40 HU, width 400 HU" in figure.get_suptitle()


def test_slices_keep_the_patients_proportions_and_name_the_sides():
    figure = orthogonal_slices(scan(), one_hot((4, 6, 5), (0, 0, 0)))
    axial, coronal, sagittal = figure.axes[:3]
    # 8 sections of 5 mm, 12 rows of 1 mm, 10 columns of 2 mm; the head at the top of the upright slices.
    assert axial.images[0].get_extent() == [0, 20, 12, 0]
    assert coronal.images[0].get_extent() == [0, 20, 0, 40]
    assert sagittal.images[0].get_extent() == [0, 12, 0, 40]
    assert all(axes.get_aspect() == 1 for axes in (axial, coronal, sagittal))
    assert [axes.get_xlabel() for axes in figure.axes[:3]] == ["R - L, mm", "R - L, mm", "A - P, mm"]
    assert [axes.get_ylabel() for axes in figure.axes[:3]] == ["P - A, mm", "I - S, mm", "I - S, mm"]
    assert coronal.images[0].origin == "lower" and axial.images[0].origin == "upper"


def test_a_volume_in_another_orientation_gives_the_same_picture():
    volume, heat = scan(), one_hot((4, 6, 5), (3, 1, 2))
    expected = orthogonal_slices(volume, heat)
    turned = Volume(volume.hu.transpose(2, 1, 0)[::-1], (2.0, 1.0, 5.0), "RPS")
    found = orthogonal_slices(turned, heat.permute(2, 1, 0).flip(0))
    for a, b in zip(found.axes[:3], expected.axes[:3], strict=True):
        np.testing.assert_array_equal(a.images[0].get_array(), b.images[0].get_array())
        np.testing.assert_allclose(a.images[1].get_array(), b.images[1].get_array(), atol=1e-6)
        assert a.get_xlabel() == b.get_xlabel()


def test_no_side_of_the_patient_is_named_where_the_orientation_is_not_known():
    figure = orthogonal_slices(scan(codes=""), one_hot((4, 6, 5), (0, 0, 0)))
    assert figure.axes[0].get_xlabel() == "width, mm" and figure.axes[0].get_title() == "depth, slice 1 of 8"


def test_a_scan_goes_from_the_processor_through_the_model_to_slices():
    size = {"depth": tiny.VOLUME_DEPTH, "height": tiny.IMAGE_SIZE, "width": tiny.IMAGE_SIZE}
    processor = RadIRCTImageProcessor(size=size, spacing_mm=[5, 2, 2])
    seen = processor.prepare(scan((6, 40, 20), codes="IAR"))
    pixel_values = processor(seen, return_tensors="pt")["pixel_values"]
    heat = attention_map(tiny.model("ctvit"), pixel_values, "heart", steps=2)[0]
    figure = orthogonal_slices(Volume(seen, tuple(processor.spacing_mm), processor.orientation), heat)
    assert figure.axes[0].images[0].get_array().shape == (32, 32)
    assert figure.axes[1].images[0].get_extent() == [0, 64, 0, 40]


def test_a_figure_can_be_written(tmp_path):
    orthogonal_slices(scan(), torch.zeros(4, 6, 5)).savefig(tmp_path / "slices.png", dpi=40)
    assert (tmp_path / "slices.png").stat().st_size > 1000


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: overlay(np.zeros((8, 8), np.uint8), torch.zeros(2, 4, 4)), "one map of a batch"),
        (lambda: overlay(np.zeros((8, 8), np.uint8), torch.zeros(4, 4), opacity=2), "opacity is 2"),
        (lambda: overlay(np.zeros((8, 8), np.uint8), torch.zeros(4, 4), colours="infernal"), "'inferno'"),
        (lambda: orthogonal_slices(scan(), torch.zeros(4, 4)), "one map of a batch"),
        (lambda: orthogonal_slices(scan(), torch.zeros(1, 4, 4), window="lungs"), "unknown window 'lungs'"),
        (lambda: orthogonal_slices(scan(), torch.zeros(1, 4, 4), opacity=-1), "opacity is -1"),
    ],
)
def test_what_cannot_be_drawn_is_refused_with_a_sentence(call, message):
    with pytest.raises(ValueError, match=message):
        call()
