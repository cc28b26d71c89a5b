from fractions import Fraction
from itertools import combinations
from math import comb

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from unlearn_metrics.functional import leak_at_k


@st.composite
def counts(draw):
    n = draw(st.integers(1, 200))
    return n, draw(st.integers(0, n)), draw(st.integers(1, n))


@given(counts())
def test_agrees_with_binomials(case):
    n, c, k = case
    expected = float(1 - Fraction(comb(n - c, k), comb(n, k)))
    assert leak_at_k(n, c, k) == pytest.approx(expected, rel=1e-12)
    assert 0 <= leak_at_k(n, c, k) <= 1
    assert leak_at_k([n, n], [c, 0], k).tolist() == [leak_at_k(n, c, k), 0.0]


@given(counts())
def test_more_draws_and_more_leaks_never_leak_less(case):
    n, c, k = case
    assert leak_at_k(n, c, k) <= leak_at_k(n, min(n, c + 1), k) + 1e-15
    assert leak_at_k(n, c, k) <= leak_at_k(n, c, min(n, k + 1)) + 1e-15


@pytest.mark.parametrize(("n", "c", "k"), [(5, 2, 3), (6, 1, 2), (4, 4, 1)])
def test_by_drawing_every_way(n, c, k):
    draws = list(combinations(range(n), k))
    assert leak_at_k(n, c, k) == pytest.approx(sum(min(draw) < c for draw in draws) / len(draws), rel=1e-14)


def test_limits():
    assert leak_at_k(10, 0, 10) == 0.0
    assert leak_at_k(10, 10, 1) == leak_at_k(10, 1, 10) == leak_at_k(10, 6, 5) == 1.0
    assert leak_at_k(8, 2, 1) == pytest.approx(0.25, rel=1e-14)
    assert leak_at_k(10**9, 1, 1) == pytest.approx(1e-9, rel=1e-14)
    assert leak_at_k(4, [1, 2], 2).shape == (2,)


def test_bad_input():
    with pytest.raises(ValueError, match="`c` must be from 0 to `n`"):
        leak_at_k(4, [1, 5], 2)
    with pytest.raises(ValueError, match="`c` must be from 0 to `n`"):
        leak_at_k(4, -1, 2)
    for k in (0, 5, -1):
        with pytest.raises(ValueError, match=f"`k` must be from 1 to the 4 answers that were sampled, got {k}"):
            leak_at_k([4, 9], [1, 1], k)
    for bad in (0.5, np.nan, True, "2"):
        with pytest.raises(ValueError, match="must hold integers"):
            leak_at_k(4, bad, 2)
        with pytest.raises(ValueError, match="`k` must hold integers"):
            leak_at_k(4, 1, bad)
    with pytest.raises(ValueError, match="`n` is empty"):
        leak_at_k([], [], 1)
    with pytest.raises(ValueError, match=r"same shape, got \(2,\) and \(3,\)"):
        leak_at_k([4, 4], [1, 1, 1], 1)
