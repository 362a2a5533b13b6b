from collections import Counter

import pytest

from dataset_scripts.sources.splits import split_of_subject


def test_shares_are_the_fractions() -> None:
    counts = Counter(split_of_subject(f"p{number}") for number in range(20_000))
    assert counts["train"] == pytest.approx(14_000, rel=0.02)
    assert counts["validation"] == pytest.approx(2_000, rel=0.1)
    assert counts["test"] == pytest.approx(4_000, rel=0.05)


def test_another_seed_gives_another_split() -> None:
    assert any(split_of_subject(f"p{n}", 0) != split_of_subject(f"p{n}", 1) for n in range(20))


def test_fractions_must_sum_to_one() -> None:
    with pytest.raises(ValueError, match="sum to 1"):
        split_of_subject("p1", fractions=(0.5, 0.1, 0.1))
