"""Seeded splits by patient, for sources that bring no official split."""

import hashlib

from dataset_scripts.sources.base import SPLITS


def split_of_subject(
    subject_id: str, seed: int = 0, fractions: tuple[float, float, float] = (0.7, 0.1, 0.2)
) -> str:
    """The split of a patient: all of a patient's studies fall into one split.

    The patient's place on [0, 1) is a hash of (seed, subject_id), so it neither depends on the other
    patients nor changes when studies are added.

    Args:
        subject_id: the patient.
        seed: another seed gives another, independent split.
        fractions: shares of train, validation and test; they sum to 1.

    Raises:
        ValueError: if the fractions do not sum to 1.

    Example:
        >>> split_of_subject("p000045") == split_of_subject("p000045")
        True
    """
    if abs(sum(fractions) - 1) > 1e-9 or min(fractions) < 0:
        raise ValueError(f"split fractions must be non-negative and sum to 1, got {fractions}")
    digest = hashlib.sha256(f"{seed}:{subject_id}".encode()).digest()
    place = int.from_bytes(digest[:8], "big") / 2**64
    for split, bound in zip(SPLITS[:2], (fractions[0], fractions[0] + fractions[1]), strict=True):
        if place < bound:
            return split
    return SPLITS[2]
