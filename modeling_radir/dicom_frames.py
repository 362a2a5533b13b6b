"""DICOM: the frames of an enhanced CT file, each with the header that a file of one slice would have."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from .dicom import frame_count

# The functional groups (PS3.3 C.7.6.16) that hold what the header of a classic slice says.
_GROUPS = (
    "PlanePositionSequence",
    "PlaneOrientationSequence",
    "PixelMeasuresSequence",
    "PixelValueTransformationSequence",
    "CTImageFrameTypeSequence",
)


@dataclass(frozen=True)
class FrameHeader:
    """What one frame's header says: its own groups first, then those that all frames share, then the file."""

    levels: Sequence[Any]

    def get(self, name: str, default: Any = None) -> Any:
        """The first value of a field that is not empty.

        Raises:
            ValueError: the field is damaged.
        """
        for level in self.levels:
            try:
                value = level.get(name)
            except Exception as error:  # pydicom raises what it likes
                raise ValueError(f"the DICOM file's {name} cannot be understood") from error
            if value not in (None, "", []):
                return value
        return default


def frame_headers(dataset: Any) -> list[FrameHeader]:
    """The header of each frame of a file, in the file's order.

    Raises:
        ValueError: it holds several frames without saying where they lie.
    """
    frames = frame_count(dataset)
    groups = dataset.get("PerFrameFunctionalGroupsSequence")
    if not groups and frames == 1:
        return [FrameHeader([dataset])]
    if not groups:
        raise ValueError(
            f"holds {frames} frames without their positions (PerFrameFunctionalGroupsSequence): export "
            "single slices, an enhanced CT file, or NIfTI"
        )
    if len(groups) != frames:
        raise ValueError(f"holds {frames} frames and describes {len(groups)}: it is damaged")
    shared = [each for item in dataset.get("SharedFunctionalGroupsSequence") or () for each in _inside(item)]
    return [FrameHeader([*_inside(item), *shared, dataset]) for item in groups]


def is_part(dataset: Any) -> bool:
    """Whether a file holds but a part of the frames, and others the rest (a concatenation)."""
    return bool(dataset.get("ConcatenationUID")) and dataset.get("InConcatenationTotalNumber") != 1


def _inside(item: Any) -> list[Any]:
    group = FrameHeader([item])
    return [sequence[0] for name in _GROUPS if (sequence := group.get(name))]
