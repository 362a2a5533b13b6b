"""Promises of the torch kernel: bit for bit the scores of the CPU kernel, in any chunks."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from dataset_scripts.ratescore import RateScoreWeights
from dataset_scripts.relevance import RelevanceEngine
from tests.dataset_scripts.test_relevance import random_store

torch = pytest.importorskip("torch")

DEVICES = [
    "cpu:0",
    pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")),
]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(("texts", "budget_bytes"), [(24, 3_000), (90, 2**28)])  # many chunks, and one
@pytest.mark.parametrize("affinity", ["long", "short"])
def test_scores_equal_the_cpu_kernel_bit_for_bit(
    device: str, texts: int, budget_bytes: int, affinity: str
) -> None:
    store = random_store(texts, 70, seed=4)
    weights = RateScoreWeights.named(affinity)
    cpu, other = RelevanceEngine(store, weights), RelevanceEngine(store, weights, budget_bytes, device=device)
    rows, columns = np.array([3, -1, 0, 3, texts - 1, 21]), np.arange(texts)
    np.testing.assert_array_equal(other.block(rows, columns), cpu.block(rows, columns))
    np.testing.assert_array_equal(other.block(columns, columns), cpu.block(columns, columns))
    np.testing.assert_array_equal(other.top_k(columns, columns, 9)[0], cpu.top_k(columns, columns, 9)[0])
    np.testing.assert_array_equal(other.histogram(columns), cpu.histogram(columns))


def test_an_unknown_device_is_refused() -> None:
    with pytest.raises(ValueError, match="cannot be used"):
        RelevanceEngine(random_store(), device="abacus")


def test_the_engine_leaves_the_torch_kernel_alone_until_a_device_is_asked_for() -> None:
    code = "import sys, dataset_scripts.relevance; sys.exit('dataset_scripts.kernel_torch' in sys.modules)"
    root = Path(__file__).parents[2]
    assert subprocess.run([sys.executable, "-c", code], cwd=root, check=False).returncode == 0
