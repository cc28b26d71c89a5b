import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from unlearn_metrics.functional import _statistics, bootstrap_interval, paired_difference

VALUES = st.lists(st.floats(-10, 10), min_size=2, max_size=30)


def naive_interval(values, samples, seed):
    rng = np.random.default_rng(seed)
    values = np.sort(values)
    means = [values[row].mean() for row in rng.integers(values.size, size=(samples, values.size))]
    return np.quantile(means, [0.025, 0.975])


@given(VALUES, st.integers(0, 5))
def test_agrees_with_a_loop(values, seed):
    found = bootstrap_interval(values, samples=200, seed=seed)
    assert list(found) == pytest.approx(list(naive_interval(values, 200, seed)), abs=1e-12)


@given(VALUES)
def test_bounds_and_order(values):
    low, high = bootstrap_interval(values)
    assert min(values) - 1e-12 <= low <= high <= max(values) + 1e-12
    assert bootstrap_interval(values[::-1]) == (low, high)
    narrow = bootstrap_interval(values, confidence=0.5)
    assert low <= narrow.low <= narrow.high <= high


def test_it_covers_the_mean_as_often_as_it_says():
    rng = np.random.default_rng(0)
    intervals = [bootstrap_interval(rng.normal(size=60), samples=400) for _ in range(300)]
    assert 0.90 <= np.mean([low <= 0 <= high for low, high in intervals]) <= 0.98


def test_another_statistic():
    low, high = bootstrap_interval([0.0, 1.0, 2.0, 3.0], lambda rows: rows.max(axis=1))
    assert low < high == 3.0
    with pytest.raises(ValueError, match="one number for each of 10 resamples, got 40 with 0 NaN"):
        bootstrap_interval([0.0, 1.0, 2.0, 3.0], lambda rows: rows, samples=10)
    with pytest.raises(ValueError, match="got 10 with 10 NaN"):
        bootstrap_interval([0.0, 1.0], lambda rows: np.full(len(rows), np.nan), samples=10)


@given(VALUES, st.floats(-5, 5))
def test_intervals_move_and_stretch_with_the_values(values, shift):
    low, high = bootstrap_interval(values, samples=100)
    moved = bootstrap_interval([each + shift for each in values], samples=100)
    assert list(moved) == pytest.approx([low + shift, high + shift], abs=1e-9)
    stretched = bootstrap_interval([each * 2 for each in values], samples=100)
    assert list(stretched) == pytest.approx([low * 2, high * 2], abs=1e-9)


def test_a_constant_has_no_spread():
    assert bootstrap_interval([0.5] * 9) == (0.5, 0.5)


def test_p_agrees_with_every_flip():
    differences = np.array([0.5, 1.0, -0.25, 2.0, 0.75])
    flips = np.array(list(itertools.product([-1, 1], repeat=5))) @ differences
    expected = np.mean(np.abs(flips) >= differences.sum())
    assert paired_difference(differences, np.zeros(5), samples=20_000).p == pytest.approx(expected, abs=0.01)


def test_rows_beyond_a_block_are_drawn_in_pieces(monkeypatch):
    values, others = np.arange(90.0), np.arange(90.0)[::-1] + 1
    whole = bootstrap_interval(values, samples=50), paired_difference(values, others, samples=50)
    monkeypatch.setattr(_statistics, "_BLOCK", 40)
    assert bootstrap_interval(values, samples=50) == whole[0]
    assert paired_difference(values, others, samples=50)[:3] == whole[1][:3]


def test_blocks_change_nothing(monkeypatch):
    whole = bootstrap_interval(np.arange(50.0)), paired_difference(np.arange(50.0), np.ones(50))
    monkeypatch.setattr(_statistics, "_BLOCK", 700)
    assert (bootstrap_interval(np.arange(50.0)), paired_difference(np.arange(50.0), np.ones(50))) == whole


def test_resample_counts_sum_to_the_rows():
    counts = _statistics.resample_counts(7, 50, np.random.default_rng(0))
    assert counts.shape == (50, 7)
    assert (counts.sum(axis=1) == 7).all()


@given(VALUES)
def test_paired_difference_is_antisymmetric(values):
    other = [each / 2 - 0.25 for each in values]
    found, mirrored = paired_difference(values, other), paired_difference(other, values)
    assert found.difference == pytest.approx(np.mean(values) - np.mean(other), abs=1e-12)
    assert mirrored.difference == pytest.approx(-found.difference, abs=1e-12)
    assert 0 < found.p <= 1
    assert found.n == len(values)


def test_p_values_tell_a_difference_from_none():
    rng = np.random.default_rng(0)
    base = rng.normal(size=100)
    assert paired_difference(base + 0.5, base + rng.normal(0, 0.5, 100)).p < 0.01
    p = [paired_difference(rng.normal(size=20), rng.normal(size=20), samples=200).p for _ in range(300)]
    assert 0.02 <= np.mean(np.array(p) < 0.05) <= 0.09


def test_bad_input():
    with pytest.raises(ValueError, match="at least 2 values"):
        bootstrap_interval([1.0])
    with pytest.raises(ValueError, match="`values` must be finite, got nan"):
        bootstrap_interval([1.0, np.nan])
    with pytest.raises(ValueError, match="`samples` must be at least 1"):
        bootstrap_interval([1.0, 2.0], samples=0)
    with pytest.raises(ValueError, match="`confidence` must be above 0"):
        bootstrap_interval([1.0, 2.0], confidence=1.0)
    with pytest.raises(ValueError, match="same rows, got 2 and 3"):
        paired_difference([1.0, 2.0], [1.0, 2.0, 3.0])
