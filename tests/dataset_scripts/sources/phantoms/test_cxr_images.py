"""Phantom pictures: reproducible bytes, shapes, and findings that show where their anatomy is."""

from functools import cache

import numpy as np
import pytest

from dataset_scripts.sources.phantoms.cxr import (
    ANATOMIES,
    Habitus,
    PhantomStudy,
    make_study,
    normal_state,
    render,
)

SIZE = 128
ALL_FINDINGS = [
    (name, finding.name, degree)
    for name, spec in ANATOMIES.items()
    for finding in spec.findings
    for degree in finding.degrees or ("",)
]
# rows and columns (fractions of the picture) that hold most of what a finding of the anatomy changes
REGIONS = {
    "right upper lobe": ((0.10, 0.50), (0.0, 0.5)),
    "left upper lobe": ((0.10, 0.50), (0.5, 1.0)),
    "right lower lobe": ((0.42, 0.88), (0.0, 0.5)),
    "left lower lobe": ((0.42, 0.88), (0.5, 1.0)),
    "right pleura": ((0.05, 0.95), (0.0, 0.52)),
    "left pleura": ((0.05, 0.95), (0.48, 1.0)),
    "heart": ((0.35, 0.85), (0.15, 0.95)),
    "mediastinum": ((0.05, 0.60), (0.3, 0.75)),
    "trachea": ((0.0, 0.45), (0.35, 0.65)),
    "right hilum": ((0.25, 0.65), (0.15, 0.5)),
    "left hilum": ((0.25, 0.65), (0.5, 0.85)),
    "aorta": ((0.15, 0.80), (0.3, 0.75)),
    "clavicles": ((0.05, 0.40), (0.0, 1.0)),
    "right hemidiaphragm": ((0.45, 0.95), (0.0, 0.5)),
    "left hemidiaphragm": ((0.45, 0.98), (0.5, 1.0)),
    "spine": ((0.0, 1.0), (0.3, 0.7)),
    "stomach": ((0.45, 1.0), (0.35, 0.95)),
}
IMAGE_SIDE = {"right": slice(0, SIZE // 2), "left": slice(SIZE // 2, SIZE)}


@cache
def normal_picture(nuisance: int) -> np.ndarray:
    """The picture without any finding."""
    return render(normal_state(), nuisance, SIZE).astype(float)


def difference(anatomy: str, name: str, degree: str, nuisance: int) -> np.ndarray:
    """Absolute difference of pictures with and without a finding: (SIZE, SIZE) float."""
    with_it = render(normal_state().with_finding(anatomy, name, degree), nuisance, SIZE)
    return np.abs(with_it - normal_picture(nuisance))


def studies(count: int, seed: int, size: int) -> list[PhantomStudy]:
    return [make_study(index, seed, size) for index in range(count)]


def test_equal_seeds_give_equal_bytes_and_other_seeds_others() -> None:
    first, again, other = (studies(2, seed, 64) for seed in (1, 1, 2))
    for a, b, c in zip(first, again, other, strict=True):
        assert a.image.tobytes() == b.image.tobytes()
        assert (a.findings, a.impression, a.subject_id) == (b.findings, b.impression, b.subject_id)
        assert a.image.tobytes() != c.image.tobytes()


def test_a_study_does_not_depend_on_those_before_it() -> None:
    alone = make_study(3, 5, 64).image.tobytes()
    assert studies(4, 5, 64)[3].image.tobytes() == alone


@pytest.mark.parametrize("size", [64, 100, 256])
def test_pictures_are_square_uint8_and_use_the_grey_range(size: int) -> None:
    study = make_study(0, 0, size)
    assert study.image.shape == (size, size)
    assert study.image.dtype == np.uint8
    assert study.image.min() < 40 and study.image.max() > 220
    assert (study.study_id, study.subject_id[0], len(study.subject_id)) == ("phantom-000000", "p", 7)


@pytest.mark.parametrize(("anatomy", "name", "degree"), ALL_FINDINGS)
def test_every_finding_is_visible_where_its_anatomy_is(anatomy: str, name: str, degree: str) -> None:
    change = sum(difference(anatomy, name, degree, nuisance) for nuisance in (1, 2)) / 2
    # visible: a patch of at least 12 of the 16,384 pixels changes by more than 12 grey levels
    assert (change > 12).sum() >= 12
    if anatomy in REGIONS:
        (top, bottom), (left, right) = ((int(a * SIZE), int(b * SIZE)) for a, b in REGIONS[anatomy])
        assert change[top:bottom, left:right].sum() > 0.75 * change.sum()
    for side, columns in IMAGE_SIDE.items():
        if ANATOMIES[anatomy].side == side or (name.startswith(side) and anatomy in ("ribs", "clavicles")):
            assert change[:, columns].sum() > 0.85 * change.sum()


def test_degrees_of_an_effusion_and_of_a_large_heart_grow() -> None:
    for anatomy, name in (
        ("left pleura", "effusion"),
        ("right pleura", "effusion"),
        ("heart", "cardiomegaly"),
    ):
        degrees = next(f.degrees for f in ANATOMIES[anatomy].findings if f.name == name)
        amounts = [difference(anatomy, name, degree, 1).sum() for degree in degrees]
        assert amounts == sorted(amounts), name


def test_the_patients_left_is_at_the_right_of_the_picture() -> None:
    image = np.mean([render(normal_state(), nuisance, SIZE) for nuisance in range(6)], axis=0)
    heart = image[int(0.55 * SIZE) : int(0.65 * SIZE)]
    assert (
        heart[:, SIZE // 2 + 12 : SIZE // 2 + 20].mean()
        > heart[:, SIZE // 2 - 20 : SIZE // 2 - 12].mean() + 20
    )
    below = image[int(0.72 * SIZE) : int(0.84 * SIZE)]
    assert below[:, SIZE // 2 + 14 : SIZE // 2 + 28].min() < below[:, SIZE // 2 - 28 : SIZE // 2 - 14].min()
    liver_edge = [int(np.argmax(image[60:, column] > 180)) for column in (34, 94)]
    assert liver_edge[0] < liver_edge[1]


def test_lungs_are_darker_than_heart_and_abdomen() -> None:
    image = np.mean([render(normal_state(), nuisance, SIZE) for nuisance in range(4)], axis=0)
    lung = image[40:60, 30:42].mean()
    assert lung < 110
    assert image[75:80, 66:74].mean() > lung + 60
    assert image[112:120, 30:50].mean() > lung + 100


def test_habitus_and_nuisance_change_the_picture() -> None:
    thin = Habitus(False, 0.0, 1.0, 1.0, 1.0, 0.0)
    obese = Habitus(True, 1.0, 1.0, 1.0, 1.0, 0.8)
    assert (
        np.abs(render(normal_state(thin), 0, 64).astype(int) - render(normal_state(obese), 0, 64)).mean() > 5
    )
    assert (
        np.abs(render(normal_state(thin), 0, 64).astype(int) - render(normal_state(thin), 1, 64)).mean() > 2
    )


@pytest.mark.parametrize(("index", "seed", "size"), [(-1, 0, 64), (0, -1, 64), (0, 0, 32)])
def test_bad_arguments_are_refused(index: int, seed: int, size: int) -> None:
    with pytest.raises(ValueError, match="expected"):
        make_study(index, seed, size)
