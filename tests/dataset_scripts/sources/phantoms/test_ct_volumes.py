"""Phantom CT volumes: reproducible voxels, plausible HU, and findings that show where their anatomy is."""

from functools import cache

import numpy as np
import pytest

from dataset_scripts.sources.phantoms.ct import (
    ANATOMIES,
    Build,
    PhantomCTState,
    PhantomCTStudy,
    Scan,
    make_study,
    normal_state,
    render,
    sample_state,
    spacing_of,
)

SHAPE = (64, 96, 96)
SMALL = (20, 36, 36)
SPACING = spacing_of(normal_state().scan, SHAPE)
ALL_FINDINGS = [
    (name, finding.name, degree)
    for name, spec in ANATOMIES.items()
    for finding in spec.findings
    for degree in finding.degrees or ("",)
]
# where an anatomy lies, in mm from the middle of the volume: x to the left, y to the back, z to the head;
# of paired anatomies the left one, the right one is its mirror image
BOXES = {
    "upper lobe": ((4, 125), (-90, 85), (-75, 145)),
    "left upper lobe": ((4, 135), (-90, 85), (-80, 145)),
    "middle lobe": ((4, 135), (-90, 30), (-90, 35)),
    "lower lobe": ((4, 135), (-78, 100), (-125, 90)),
    "pleura": ((0, 140), (-95, 100), (-130, 145)),
    "hemidiaphragm": ((-25, 140), (-95, 100), (-135, 5)),
    "trachea": ((-30, 30), (-20, 35), (30, 145)),
    "bronchi": ((-80, 80), (-40, 65), (-60, 75)),
    "heart": ((-75, 110), (-90, 40), (-100, 45)),
    "pericardium": ((-95, 135), (-115, 65), (-120, 55)),
    "coronary artery": ((-45, 70), (-75, 25), (-60, 25)),
    "aorta": ((-55, 60), (-65, 75), (-110, 95)),
    "pulmonary artery": ((-70, 75), (-75, 50), (-25, 60)),
    "mediastinum": ((-50, 60), (-90, 50), (-15, 120)),
    "hilum": ((20, 80), (-25, 50), (-30, 50)),
    "esophagus": ((-25, 50), (0, 60), (-90, 145)),
    "axilla": ((100, 165), (-35, 50), (60, 130)),
    "thyroid": ((-55, 55), (-50, 40), (85, 145)),
    "spine": ((-45, 45), (25, 115), (-130, 125)),
    "ribs": ((-150, 150), (-90, 110), (-130, 120)),
    "liver": ((-135, 70), (-95, 100), (-145, -30)),
    "spleen": ((30, 130), (-40, 95), (-145, -30)),
    "kidney": ((20, 105), (5, 90), (-145, -75)),
    "adrenal gland": ((10, 60), (5, 60), (-135, -75)),
    "gallbladder": ((-80, -10), (-85, 10), (-145, -85)),
    "stomach": ((-45, 125), (-90, 65), (-145, -5)),
    "peritoneum": ((-140, 145), (-100, 100), (-145, -20)),
    "breast": ((20, 130), (-160, -45), (-50, 60)),
    "subcutaneous tissue": ((-190, 190), (-140, 140), (-145, 145)),
    "support devices": ((-175, 175), (-125, 125), (-130, 145)),
}
# the sum of what changes: gas, fluid and fat in tissue, or all else
DARKER = {
    "emphysema",
    "pneumothorax",
    "pneumomediastinum",
    "dilated",
    "steatosis",
    "metastases",
    "lytic lesion",
}
DARKER |= {"spleen absent", "free air", "right emphysema", "left emphysema", "liver cyst", "spleen cyst"}
DARKER |= {"stomach distended", "gallbladder distended"}
# brighter in one place and darker in another
EITHER = {"deviated right", "deviated left", "compression", "hiatal hernia", "adenoma", "right nodule"}
EITHER |= {"cavity", "left nodule", "tracheostomy", "endotracheal tube", "kidney cyst"}


def box_of(anatomy: str) -> tuple[tuple[float, float], ...]:
    """The box of an anatomy of the catalog."""
    side, _, part = anatomy.partition(" ")
    x, y, z = BOXES.get(anatomy) or BOXES[part if side in ("left", "right") else anatomy]
    return ((-x[1], -x[0]) if side == "right" else x), y, z


def inside(anatomy: str) -> np.ndarray:
    """Mask (D, H, W) of an anatomy's box in the volumes of `normal_state`."""
    places = [(np.arange(n) - (n - 1) / 2) * mm for n, mm in zip(SHAPE, SPACING, strict=True)]
    z, y, x = np.meshgrid(*places, indexing="ij")
    box = box_of(anatomy)
    return np.all([(low <= v) & (v <= high) for v, (low, high) in zip((x, y, z), box, strict=True)], axis=0)


@cache
def normal_volume(nuisance: int = 1) -> np.ndarray:
    """The volume without any finding: (64, 96, 96) float."""
    return render(normal_state(), nuisance, SHAPE).astype(float)


def difference(anatomy: str, name: str, degree: str = "", size_mm: int | None = None) -> np.ndarray:
    """A volume with a finding minus the one without; noise is the same in both, so the rest is 0."""
    state = normal_state().with_finding(anatomy, name, degree, size_mm)
    return render(state, 1, SHAPE) - normal_volume()


@pytest.mark.parametrize(("anatomy", "name", "degree"), ALL_FINDINGS)
def test_every_finding_shows_where_its_anatomy_is_and_nowhere_else_brighter_or_darker_as_it_must(
    anatomy: str, name: str, degree: str
) -> None:
    change = difference(anatomy, name, degree)
    here = inside(anatomy)
    # visible: 3 voxels or more change by more than 20 HU, the noise's deviation being 14
    assert (np.abs(change[here]) > 20).sum() >= 3
    assert np.abs(change[here]).sum() > 0.95 * np.abs(change).sum()
    x = (np.arange(SHAPE[2]) - (SHAPE[2] - 1) / 2) * SPACING[2]
    for side, columns in (("right", x < 0), ("left", x > 0)):
        if anatomy.startswith(side) or (name.startswith(side) and name != "left atrium"):
            assert np.abs(change[..., columns]).sum() > 0.8 * np.abs(change).sum()
    part = anatomy.split()[-1]
    if name not in EITHER and f"{part} {name}" not in EITHER:
        if name == "pneumothorax":
            change = change[:, : SHAPE[1] // 3]  # the gas is in front, the collapse behind it
        darker = name in DARKER or f"{part} {name}" in DARKER
        assert change.sum() < 0 if darker else change.sum() > 0


@pytest.mark.parametrize(
    ("anatomy", "name"),
    [
        ("left pleura", "effusion"),
        ("right pleura", "effusion"),
        ("heart", "cardiomegaly"),
        ("pericardium", "effusion"),
        ("left upper lobe", "emphysema"),
        ("right lower lobe", "nodule"),
        ("coronary artery", "calcification"),
        ("liver", "steatosis"),
        ("aorta", "ascending dilation"),
        ("mediastinum", "paratracheal nodes"),
    ],
)
def test_a_higher_degree_changes_more(anatomy: str, name: str) -> None:
    degrees = ANATOMIES[anatomy].finding(name).degrees
    amounts = [np.abs(difference(anatomy, name, degree)).sum() for degree in degrees]
    assert amounts == sorted(amounts) and amounts[-1] > 1.5 * amounts[0]


@pytest.mark.parametrize("size_mm", [5, 8, 16, 22])
def test_a_nodule_has_the_volume_that_its_size_says(size_mm: int) -> None:
    degree = "small" if size_mm < 7 else "medium" if size_mm < 11 else "large"
    lobes = [name for name in ANATOMIES if name.endswith("lobe")]
    changes = [difference(lobe, "nodule", degree, size_mm).sum() for lobe in lobes]
    # a full voxel goes from about -850 to 42 HU; the median, since a nodule may lie on a vessel
    filled = float(np.median(changes)) * np.prod(SPACING) / 890
    assert filled == pytest.approx(np.pi / 6 * size_mm**3, rel=0.15)


def test_tissues_have_their_hounsfield_units() -> None:
    volume = normal_volume()

    def at(x: float, y: float, z: float) -> float:
        d, h, w = (round(v / mm + (n - 1) / 2) for v, mm, n in zip((z, y, x), SPACING, SHAPE, strict=True))
        return float(volume[d - 1 : d + 2, h - 1 : h + 2, w - 1 : w + 2].mean())

    assert at(170, -100, 100) == pytest.approx(-1000, abs=15)  # air beside the patient
    assert -940 < at(85, -35, 50) < -780  # lung
    assert at(0, 4, 90) < -700  # trachea
    assert at(-80, -10, -110) == pytest.approx(58, abs=15)  # liver
    assert at(40, -16, -26) == pytest.approx(45, abs=20)  # heart, native
    assert at(0, 57, -20) > 150  # vertebrae
    arterial = render(_with_phase("arterial"), 1, SHAPE).astype(float)
    volume = arterial
    assert at(26, 40, -8) > 230  # descending aorta


def _with_phase(phase: str) -> PhantomCTState:
    scan = normal_state().scan
    return normal_state(
        scan=Scan(scan.field_mm, scan.slice_mm, scan.blur_mm, scan.noise_hu, phase, scan.shift_mm)
    )


def test_lung_is_denser_at_the_back_where_the_patient_lies_on_it() -> None:
    volume = np.mean([normal_volume(k) for k in (1, 2)], axis=0)
    lung = volume[30:45, :, 18:36]
    rows = [lung[:, k][lung[:, k] < -700].mean() for k in (34, 62)]
    assert rows[1] > rows[0] + 25


def test_the_patients_left_is_at_the_end_of_the_rows() -> None:
    volume = normal_volume()
    soft = (volume[24:34] > 0) & (volume[24:34] < 100)  # the heart between the lungs
    middle = soft[:, 25:60, 30:66]
    assert middle[..., 18:].sum() > 1.2 * middle[..., :18].sum()
    liver = (volume[2:12] > 30).mean((0, 1))
    assert liver[20:44].mean() > liver[52:76].mean()


def studies(count: int, seed: int) -> list[PhantomCTStudy]:
    return [make_study(index, seed, SMALL) for index in range(count)]


def test_equal_seeds_give_equal_voxels_and_other_seeds_others() -> None:
    first, again, other = (studies(2, seed) for seed in (1, 1, 2))
    for a, b, c in zip(first, again, other, strict=True):
        assert a.volume.tobytes() == b.volume.tobytes()
        assert (a.findings, a.impression, a.subject_id) == (b.findings, b.impression, b.subject_id)
        assert a.volume.tobytes() != c.volume.tobytes()


def test_a_study_does_not_depend_on_those_before_it() -> None:
    alone = make_study(3, 5, SMALL).volume.tobytes()
    assert studies(4, 5)[3].volume.tobytes() == alone


@pytest.mark.parametrize("shape", [(16, 32, 32), (40, 64, 80), (64, 96, 96)])
def test_volumes_are_int16_hu_of_the_shape_and_cover_the_field(shape: tuple[int, int, int]) -> None:
    study = make_study(0, 0, shape)
    assert study.volume.shape == shape and study.volume.dtype == np.int16
    assert -1024 <= study.volume.min() < -950 and 200 < study.volume.max() <= 3071
    extent = [mm * count for mm, count in zip(study.spacing_mm, shape, strict=True)]
    assert extent == pytest.approx(study.state.scan.field_mm)
    assert (study.study_id, study.subject_id[0], len(study.subject_id)) == ("phantom-ct-000000", "c", 7)


def test_spacing_varies_within_that_of_coarse_chest_cts() -> None:
    spacings = np.array([sample_state(0, k).scan.field_mm for k in range(40)]) / SHAPE
    assert spacings[:, 0].min() > 3.8 and spacings[:, 0].max() < 5.3 and spacings[:, 0].std() > 0.1
    assert spacings[:, 1].min() > 3.5 and spacings[:, 1].max() < 4.3 and spacings[:, 1].std() > 0.1


def test_build_scan_and_nuisance_change_the_volume() -> None:
    thin = normal_state(Build(False, 0.0, (1.0, 1.0, 1.0), 1.0, 0.0))
    obese = normal_state(Build(True, 1.0, (1.05, 1.0, 1.0), 1.0, 0.9))
    volumes = [render(state, 0, SMALL).astype(float) for state in (thin, obese, _with_phase("venous"))]
    volumes.append(render(thin, 1, SMALL).astype(float))
    for k, a in enumerate(volumes):
        assert all(np.abs(a - b).mean() > 5 for b in volumes[:k])


@pytest.mark.parametrize(
    ("index", "seed", "shape"), [(-1, 0, SMALL), (0, -1, SMALL), (0, 0, (8, 96, 96)), (0, 0, (64, 96, 16))]
)
def test_bad_arguments_are_refused(index: int, seed: int, shape: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match="expected"):
        make_study(index, seed, shape)
