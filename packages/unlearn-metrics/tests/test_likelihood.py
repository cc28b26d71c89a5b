import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from unlearn_metrics.functional import (
    fluency,
    forget_truth_ratio,
    normalized_probability,
    probability,
    retain_truth_ratio,
    truth_ratio,
)

NLL = st.floats(0, 60)


@given(st.lists(NLL, min_size=1))
def test_probability_is_the_geometric_mean_of_token_probabilities(nll):
    found = probability(nll)
    assert found.tolist() == pytest.approx([math.exp(-each) for each in nll], rel=1e-14)
    assert ((found > 0) & (found <= 1)).all()
    assert probability(nll[::-1]).tolist() == found.tolist()[::-1]
    assert (probability(np.array(nll) + 1) < found).all()


@given(st.lists(NLL, min_size=1))
def test_fluency_is_the_perplexity(nll):
    found = fluency(nll)
    assert found.tolist() == pytest.approx([math.prod([math.e] * int(x)) * math.exp(x % 1) for x in nll], rel=1e-12)
    assert found.tolist() == pytest.approx((1 / probability(nll)).tolist(), rel=1e-12)
    assert (found >= 1).all()
    assert (fluency(np.array(nll) + 1) > found).all()


def test_fluency_at_its_limits():
    assert fluency(0.0) == 1.0
    assert fluency(800.0) == np.inf


def test_the_callers_arrays_are_left_alone():
    nll, wrong = np.array([3.0, 1.0]), np.array([[2.0, 1.0], [5.0, 4.0]])
    before = nll.copy(), wrong.copy()
    for function in (normalized_probability, truth_ratio):
        function(nll, wrong)
    assert probability(nll) is not nll
    assert np.array_equal(nll, before[0])
    assert np.array_equal(wrong, before[1])


@given(NLL, st.lists(NLL, min_size=1, max_size=6))
def test_normalized_probability_is_the_share_of_the_right_answer(nll, wrong):
    p, others = math.exp(-nll), [math.exp(-each) for each in wrong]
    found = normalized_probability(nll, wrong)
    assert found == pytest.approx(p / (p + sum(others)), rel=1e-12)
    assert 0 <= found <= 1
    assert normalized_probability(nll, wrong[::-1]) == pytest.approx(found, rel=1e-12)
    assert normalized_probability(nll + 1, wrong) <= found
    assert normalized_probability([nll, nll], [wrong, wrong]).tolist() == [found, found]


def test_normalized_probability_survives_what_probabilities_do_not():
    assert normalized_probability(2000.0, [2000.0, 2000.0, 2000.0]) == pytest.approx(0.25)
    assert normalized_probability(5000.0, [0.0]) == 0.0
    assert normalized_probability(0.0, [5000.0]) == 1.0


@given(NLL, st.lists(NLL, min_size=1, max_size=6))
def test_truth_ratio_means(nll, wrong):
    right, others = math.exp(-nll), [math.exp(-each) for each in wrong]
    geometric = math.prod(each ** (1 / len(others)) for each in others)
    arithmetic = sum(others) / len(others)
    assert truth_ratio(nll, wrong) == pytest.approx(geometric / right, rel=1e-10)
    assert truth_ratio(nll, wrong, mean="arithmetic") == pytest.approx(arithmetic / right, rel=1e-10)
    assert truth_ratio(nll, wrong) <= truth_ratio(nll, wrong, mean="arithmetic") * (1 + 1e-12)
    for mean in ("geometric", "arithmetic"):
        found = truth_ratio(nll, wrong, mean=mean)
        assert truth_ratio(nll, wrong[::-1], mean=mean) == pytest.approx(found, rel=1e-12)
        assert truth_ratio(nll + 1, wrong, mean=mean) == pytest.approx(found * math.e, rel=1e-12)
        assert truth_ratio(nll, [each + 1 for each in wrong], mean=mean) == pytest.approx(found / math.e, rel=1e-12)
        assert truth_ratio([nll, nll], [wrong, wrong], mean=mean).tolist() == pytest.approx([found, found], rel=1e-15)


def test_truth_ratio_has_no_floor():
    # With an epsilon of 1e-10 under the fraction, equal losses of 25 would give 0.122.
    assert truth_ratio(25.0, [25.0]) == 1.0
    assert truth_ratio(0.0, [800.0]) == 0.0
    assert truth_ratio(800.0, [0.0]) == np.inf


RATIOS = st.lists(st.floats(1e-6, 1e6), min_size=1)


@given(RATIOS)
def test_aggregates_of_the_truth_ratio(ratios):
    forget = sum(min(each, 1 / each) for each in ratios) / len(ratios)
    retain = sum(max(0.0, 1 - each) for each in ratios) / len(ratios)
    assert forget_truth_ratio(ratios) == pytest.approx(forget, rel=1e-12)
    assert retain_truth_ratio(ratios) == pytest.approx(retain, rel=1e-12, abs=1e-15)
    assert forget_truth_ratio([1 / each for each in ratios]) == pytest.approx(forget, rel=1e-9)
    assert 0 <= retain <= 1
    assert 0 <= forget <= 1
    assert forget_truth_ratio(ratios[::-1]) == pytest.approx(forget, rel=1e-12)
    assert retain_truth_ratio(ratios[::-1]) == pytest.approx(retain, rel=1e-12, abs=1e-15)
    assert retain_truth_ratio([each * 2 for each in ratios]) <= retain + 1e-12


def test_aggregates_at_their_limits():
    assert forget_truth_ratio([0.0, np.inf]) == 0.0
    assert forget_truth_ratio([1.0]) == 1.0
    assert retain_truth_ratio([0.0]) == 1.0
    assert retain_truth_ratio([np.inf, 1.0]) == 0.0


@pytest.mark.parametrize("bad", [[], [-0.1], [np.nan], [np.inf]])
def test_bad_losses_are_refused(bad):
    for call in (
        lambda: probability(bad),
        lambda: fluency(bad),
        lambda: truth_ratio(1.0, bad),
        lambda: normalized_probability(1.0, bad),
    ):
        with pytest.raises(ValueError, match=r"nll` (must be finite and at least 0, got|is empty)"):
            call()


@pytest.mark.parametrize("bad", [[], [-0.1], [np.nan]])
def test_bad_ratios_are_refused(bad):
    for aggregate in (forget_truth_ratio, retain_truth_ratio):
        with pytest.raises(ValueError, match=r"truth_ratios` (must be at least 0, got|is empty)"):
            aggregate(bad)


def test_shapes_and_types_are_checked():
    for function in (truth_ratio, normalized_probability):
        with pytest.raises(ValueError, match=r"one axis more, got \(2, 3\) for \(3,\)"):
            function([1.0, 1.0, 1.0], [[1.0, 1.0, 1.0], [1.0, 1.0, 1.0]])
        with pytest.raises(ValueError, match="one axis more"):
            function(1.0, 1.0)
    with pytest.raises(ValueError, match="`mean` must be 'geometric' or 'arithmetic', got 'median'"):
        truth_ratio(1.0, [1.0], mean="median")
    with pytest.raises(TypeError, match="`nll` must be numbers"):
        probability(["high"])
    with pytest.raises(ValueError, match="rows of different lengths"):
        truth_ratio([1.0, 1.0], [[1.0], [1.0, 2.0]])
    with pytest.raises(ValueError, match=r"got -1\.0 at position 1, 0"):
        truth_ratio([1.0, 1.0], [[1.0, 2.0], [-1.0, np.nan]])
