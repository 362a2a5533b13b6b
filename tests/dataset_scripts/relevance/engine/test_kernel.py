"""Promises of the compiled loops and of the threads that share them."""

import multiprocessing
import os
from typing import Any

import numba
import numpy as np
import pytest

from dataset_scripts.relevance.engine import kernel
from dataset_scripts.relevance.engine.threads import Workers


def test_merged_candidates_descend_with_ties_by_position_and_negative_scores_last() -> None:
    scores = np.array([[0.5, -0.25, 1.0, -0.0, 0.0, 0.5, -0.5]], np.float32)
    for k in (7, 70):  # inserted, sorted
        best = np.full((1, k), kernel.MISSING)
        for part in (np.arange(4, 7), np.arange(4)):  # later positions first
            kernel.merge_top(best, scores.view(np.int32), part, part, 0, 1)
        assert (0xFFFFFFFF - (best[0, :7] & 0xFFFFFFFF)).tolist() == [2, 0, 5, 3, 4, 1, 6]
        assert (best[0, 7:] == kernel.MISSING).all()


def test_without_a_place_for_machine_code_it_is_compiled_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    njit = numba.njit

    def read_only(cache: bool = False, **options: Any) -> Any:
        if cache:
            raise RuntimeError("cannot cache function: no locator available")
        return njit(**options)

    monkeypatch.setattr(numba, "njit", read_only)
    assert kernel.compiled(lambda x: x + 1)(1) == 2


@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize("count", [0, 1, 7, 1000])
def test_workers_cover_a_range_once(threads: int, count: int) -> None:
    seen = np.zeros(count, int)

    def mark(array: np.ndarray, first: int, last: int) -> None:
        array[first:last] += 1

    Workers(threads).share(mark, count, (seen,), at_least=3)
    assert (seen == 1).all()


def test_workers_pass_on_an_error() -> None:
    def fail(first: int, last: int) -> None:
        if first:
            raise ArithmeticError("no")

    with pytest.raises(ArithmeticError):
        Workers(2).share(fail, 2, ())


def _fill(workers: Workers) -> None:
    out = np.zeros((4, 4), np.float32)
    workers.share(kernel.spread, 4, (out, np.ones((1, 1), np.float32), np.zeros(4, int), np.zeros(4, int)))
    os._exit(0 if (out == 1).all() else 1)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_workers_survive_a_fork() -> None:
    workers = Workers(2)
    out = np.zeros((4, 4), np.float32)
    workers.share(kernel.spread, 4, (out, out.copy(), np.zeros(4, int), np.zeros(4, int)))
    child = multiprocessing.get_context("fork").Process(target=_fill, args=(workers,))
    child.start()
    child.join(30)
    assert child.exitcode == 0


def test_threads_follow_omp_num_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert Workers().threads == 1
    monkeypatch.setenv("OMP_NUM_THREADS", "all of them")
    assert Workers().threads >= 1
