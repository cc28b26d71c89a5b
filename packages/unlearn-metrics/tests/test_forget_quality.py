import math
import warnings
from itertools import combinations, pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.distance import jensenshannon
from scipy.stats import ks_2samp
from unlearn_metrics.functional import _forget_quality, forget_quality, forget_quality_js, truth_ratio

RATIOS = st.lists(st.floats(0, 100).map(lambda x: round(x, 1)), min_size=1, max_size=40)


def statistic(first, second):
    points = {*first, *second}
    return max(abs(sum(x <= t for x in first) / len(first) - sum(x <= t for x in second) / len(second)) for t in points)


def scipy_p(first, second):
    """The exact p-value, or None where rounding makes scipy fall back to the asymptotic one."""
    with warnings.catch_warnings(record=True) as given_up:
        warnings.simplefilter("always")
        p = ks_2samp(first, second, method="exact").pvalue
    return None if given_up else p


@given(RATIOS, RATIOS)
def test_agrees_with_the_definition_and_with_scipy(first, second):
    quality = forget_quality(first, second)
    assert quality.statistic == pytest.approx(statistic(first, second), abs=1e-12)
    if (expected := scipy_p(first, second)) is not None:
        assert quality.p == pytest.approx(expected, rel=1e-9)
    assert quality.log10_p == pytest.approx(math.log10(quality.p), abs=1e-9)


@pytest.mark.parametrize(("n", "m"), [(1, 1), (4, 4), (3, 5), (5, 2)])
def test_p_by_counting_every_order(n, m):
    """All ways to deal n + m ranks to two samples are equally likely if the samples come from one distribution."""
    deals = {chosen: [rank for rank in range(n + m) if rank not in chosen] for chosen in combinations(range(n + m), n)}
    gaps = [statistic(chosen, others) for chosen, others in deals.items()]
    for gap, (chosen, others) in zip(gaps, deals.items(), strict=True):
        expected = sum(each >= gap - 1e-12 for each in gaps) / len(gaps)
        assert forget_quality(chosen, others).p == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(("n", "m"), [(4000, 4000), (500, 800)])
def test_log10_p_stays_finite_where_p_is_zero(n, m):
    quality = forget_quality(np.zeros(n), np.ones(m))
    assert quality.p < 1e-300
    assert quality.log10_p == pytest.approx((math.log(2) - math.log(math.comb(n + m, n))) / math.log(10), rel=1e-12)


def test_the_walk_agrees_with_scipy():
    rng = np.random.default_rng(0)
    for n, m in [(7, 9), (30, 50), (50, 13)]:
        found = ks_2samp(rng.normal(size=n), rng.normal(1, 1, size=m), method="exact")
        assert _forget_quality._log_p_by_walk(found.statistic, n, m) == pytest.approx(math.log(found.pvalue), abs=1e-10)


def test_more_unequal_rows_than_can_be_counted():
    quality = forget_quality(np.zeros(10_001), np.ones(10_002))
    assert quality.p == 0.0
    assert -5000 < quality.log10_p < -4000
    rng = np.random.default_rng(0)
    first, second = rng.normal(3, 1, 10_001), rng.normal(3.02, 1, 10_002)
    expected = ks_2samp(abs(first), abs(second), method="asymp")
    found = forget_quality(abs(first), abs(second))
    assert found.p == pytest.approx(expected.pvalue, rel=1e-12)
    assert found.statistic == pytest.approx(expected.statistic, rel=1e-12)


@given(RATIOS, st.floats(0.5, 2))
def test_only_the_order_of_ratios_counts(ratios, factor):
    others = [each * factor for each in ratios]
    found = forget_quality(ratios, others)
    assert 0 <= found.p <= 1
    assert 0 <= found.statistic <= 1
    assert forget_quality(np.square(ratios), np.square(others)) == found


@pytest.mark.parametrize("n", [1, 5, 40])
def test_a_larger_gap_is_less_probable(n):
    found = [_forget_quality.log_p_of_gap(gap, n) for gap in range(n + 1)]
    assert all(high >= low for high, low in pairwise(found))


def test_blocks_change_nothing(monkeypatch):
    rng = np.random.default_rng(0)
    samples = rng.lognormal(size=50), rng.lognormal(size=70)
    whole = forget_quality(*samples)
    monkeypatch.setattr(_forget_quality, "_BLOCK", 7)
    assert forget_quality(*samples) == whole


def clear(paraphrase, perturbed, retrained_paraphrase, retrained_perturbed):
    """The comparison in CLEAR's code: one mean loss of all wrong answers, raw vectors as if they were distributions."""
    vectors = np.exp(perturbed.mean() - paraphrase), np.exp(retrained_perturbed.mean() - retrained_paraphrase)
    return 1 - jensenshannon(*vectors)


@given(st.integers(0, 1000), st.integers(1, 30))
def test_clear_compat_is_what_clears_code_computes(seed, n):
    rng = np.random.default_rng(seed)
    losses = [rng.exponential(2.0, shape) for shape in ((n,), (n, 3), (n,), (n, 3))]
    ratios, retrained = (truth_ratio(right, np.full((n, 1), wrong.mean())) for right, wrong in (losses[:2], losses[2:]))
    found = forget_quality_js(ratios, retrained, clear_compat=True)
    assert found == pytest.approx(clear(*losses), abs=1e-7)
    assert found == pytest.approx(forget_quality_js(retrained, ratios, clear_compat=True), abs=1e-12)
    assert 1 - math.sqrt(math.log(2)) - 1e-12 <= found <= 1
    # Why it is not the default: wrong answers cancel out, and another order of rows gives another number.
    assert found == pytest.approx(forget_quality_js(np.exp(losses[0]), np.exp(losses[2]), clear_compat=True), abs=1e-7)


def test_clear_compat_at_its_limits():
    assert forget_quality_js([0.5, 2.0], [0.5, 2.0], clear_compat=True) == 1.0
    assert forget_quality_js([0.5, 2.0], [2.0, 0.5], clear_compat=True) < 1.0
    for first in ([0.5, np.inf], [1e300, 1e-300]):
        found = forget_quality_js(first, first[::-1], clear_compat=True)
        assert found == pytest.approx(1 - math.sqrt(math.log(2)))


def test_clear_compat_of_bad_input():
    with pytest.raises(ValueError, match="the same rows of both models, got 1 and 2"):
        forget_quality_js([1.0], [1.0, 2.0], clear_compat=True)
    with pytest.raises(ValueError, match="needs ratios above 0"):
        forget_quality_js([1.0, 0.0], [1.0, 2.0], clear_compat=True)
    with pytest.raises(ValueError, match="needs a finite ratio"):
        forget_quality_js([np.inf], [1.0], clear_compat=True)


@given(RATIOS)
def test_a_model_against_itself(ratios):
    assert forget_quality(ratios, ratios[::-1]) == (1.0, 0.0, 0.0)
    assert forget_quality_js(ratios, ratios[::-1]) == 1.0


@given(RATIOS, RATIOS)
def test_symmetry_and_order(first, second):
    assert forget_quality(first, second) == pytest.approx(forget_quality(second[::-1], first), rel=1e-9)
    js = forget_quality_js(first, second)
    assert js == pytest.approx(forget_quality_js(second[::-1], first), abs=1e-12)
    assert 0 <= js <= 1


@given(RATIOS, RATIOS)
def test_js_agrees_with_scipy(first, second):
    # Away from the edges of bins, where rounding decides.
    first, second = ([each + 0.0137 for each in sample] for sample in (first, second))
    histograms = [
        np.histogram(np.array(each) / (1 + np.array(each)), bins=20, range=(0, 1))[0] for each in (first, second)
    ]
    assert forget_quality_js(first, second) == pytest.approx(1 - jensenshannon(*histograms, base=2), abs=1e-7)


def test_infinite_ratios_are_ratios():
    assert forget_quality([np.inf, 0.0], [np.inf, 0.0]).p == 1.0
    assert forget_quality_js([np.inf, np.inf], [0.0, 0.0]) == 0.0


@pytest.mark.parametrize("bad", [[], [np.nan], [-1.0]])
def test_bad_input(bad):
    for function in (forget_quality, forget_quality_js):
        with pytest.raises(ValueError, match="`truth_ratios`"):
            function(bad, [1.0])
        with pytest.raises(ValueError, match="`retrained_truth_ratios`"):
            function([1.0], bad)
    with pytest.raises(ValueError, match="`bins` must be at least 1, got 0"):
        forget_quality_js([1.0], [1.0], bins=0)
