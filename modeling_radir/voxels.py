"""Arrays of voxels: which way their axes run, and what their stored values mean in Hounsfield units."""

import itertools

import numpy as np

# Along x, y and z of DICOM's patient coordinates: the letter where they grow, and where they fall.
_LETTERS = ("LR", "PA", "SI")
_DEGENERATE = 1e-3  # least singular value of three directions that still span space


def axis_codes(directions: np.ndarray) -> str:
    """Name the directions in which the axes of a volume grow, each by the nearest axis of the patient.

    Oblique directions are named as if they were turned to the nearest axes: nothing is resampled for it.

    Args:
        directions: (3, 3) float; row i is the direction in which array axis i grows, of any length, in
            DICOM's patient coordinates (x to the left, y to the back, z to the head).

    Returns:
        Three letters of L, R, P, A, S and I: "SPL" for sections from the feet to the head whose rows run to
        the back and whose columns run to the patient's left.

    Raises:
        ValueError: if the directions do not span space.

    Example:
        >>> axis_codes(np.array([[0, 0, 2.0], [0, -0.7, 0.1], [0.7, 0, 0]]))
        'SAL'
    """
    lengths = np.linalg.norm(directions, axis=1, keepdims=True)
    if not np.isfinite(lengths).all() or not (lengths > 0).all():
        raise ValueError("the header's orientation is not usable: a direction has no length")
    left, singular, right = np.linalg.svd(directions / lengths)
    if singular.min() < _DEGENERATE:
        raise ValueError("the header's orientation is not usable: its directions lie in one plane")
    turned = left @ right  # the nearest orthogonal directions, so that shears favour no axis
    nearest = max(
        itertools.permutations(range(3)), key=lambda order: sum(abs(turned[i, order[i]]) for i in range(3))
    )
    return "".join(_LETTERS[axis][int(turned[i, axis] < 0)] for i, axis in enumerate(nearest))


def check_codes(codes: str, what: str) -> None:
    """Make sure that codes name each of the patient's axes once.

    Raises:
        ValueError: if they do not.
    """
    axes = [axis for letter in str(codes) for axis, pair in enumerate(_LETTERS) if letter in pair]
    if len(str(codes)) != 3 or sorted(axes) != [0, 1, 2]:
        raise ValueError(
            f"{what} is {codes!r}; one letter of each of L/R, P/A and S/I is needed, for the directions in "
            'which depth, height and width grow: "SPL"'
        )


def axis_order(codes: str, frame: str) -> tuple[tuple[int, int, int], tuple[bool, bool, bool]]:
    """How axes of these codes are brought to another frame, by transposes and flips alone.

    Returns:
        order: for each axis of the frame, the axis to take.
        flipped: for each axis of the frame, whether to turn it round.
    """
    pairs = [next(pair for pair in _LETTERS if letter in pair) for letter in frame]
    order = [next(i for i, letter in enumerate(codes) if letter in pair) for pair in pairs]
    flipped = [codes[i] != letter for i, letter in zip(order, frame, strict=True)]
    return (order[0], order[1], order[2]), (flipped[0], flipped[1], flipped[2])


def hounsfield(stored: np.ndarray, slope: float, intercept: float) -> np.ndarray:
    """Stored values in Hounsfield units: slope * stored + intercept.

    Args:
        stored: (N, ...) whole numbers or floats.
        slope: HU for each stored step.
        intercept: HU of a stored 0.

    Returns:
        (N, ...): int16 where stored values and all HU are whole and fit, else float32.

    Raises:
        ValueError: if slope or intercept make no scale.
    """
    if not np.isfinite([slope, intercept]).all() or slope == 0:
        raise ValueError(
            f"a rescale slope of {slope} and an intercept of {intercept} give no Hounsfield units"
        )
    limits = np.iinfo(np.int16)
    ends = [slope * float(end) + intercept for end in (stored.min(), stored.max())] if stored.size else []
    whole = stored.dtype.kind in "iu" and float(slope).is_integer() and float(intercept).is_integer()
    if whole and all(limits.min <= end <= limits.max for end in ends):
        if (slope, intercept) == (1, 0):
            return stored.astype(np.int16, copy=False)
        values = np.empty(stored.shape, dtype=np.int16)
        for index, section in enumerate(stored):  # one at a time: the wider integers stay small
            values[index] = section.astype(np.int64) * int(slope) + int(intercept)
        return values
    scaled = np.empty(stored.shape, dtype=np.float32)
    for index, section in enumerate(stored):
        scaled[index] = section.astype(np.float64) * slope + intercept
    return scaled
