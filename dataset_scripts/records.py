"""What a dataset builder yields: one record an image, or a reason why a source record was skipped."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

SPLITS = ("train", "validation", "test")


@dataclass(frozen=True)
class ImageRecord:
    """One image with the report of its study.

    `image` holds the encoded file (PNG, JPEG) or, where images stay outside the dataset, its path.
    `labels` maps a label's name to 1 (present), 0 (absent) or -1 (uncertain); they are gold for the
    evaluation and nothing trains on them.
    """

    study_id: str
    subject_id: str
    image_id: str
    image: bytes | str
    view: str
    report: str
    findings: str
    impression: str
    split: str
    labels: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Skipped:
    """A source record left out of the dataset, with the reason in words."""

    record_id: str
    reason: str


class SkipList:
    """Collects what a build leaves out, so that nothing is dropped in silence."""

    def __init__(self) -> None:
        self.items: list[Skipped] = []

    def keep(self, items: Iterable[ImageRecord | Skipped]) -> Iterator[ImageRecord]:
        """Pass the image records on and remember the skipped ones."""
        for item in items:
            if isinstance(item, Skipped):
                self.items.append(item)
            else:
                yield item

    def counts(self) -> dict[str, int]:
        """Number of skipped records for each reason, most frequent first."""
        return dict(Counter(item.reason for item in self.items).most_common())
