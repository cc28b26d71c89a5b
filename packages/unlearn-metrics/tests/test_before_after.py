import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from unlearn_metrics.functional import forgotten_pct, privleak, quant_robustness, relearn_robustness, retained_pct

ACCURACY = st.floats(0.01, 1)
PAIRS = st.lists(st.tuples(ACCURACY, st.floats(0, 1)), min_size=1)
NUMBER = st.floats(-1e6, 1e6)
ROBUSTNESS = pytest.mark.parametrize("robustness", [relearn_robustness, quant_robustness])


@given(PAIRS)
def test_percentages_agree_with_the_definitions(pairs):
    before, after = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    forgotten = [(b - a) / b * 100 for b, a in pairs]
    assert forgotten_pct(before, after).tolist() == pytest.approx(forgotten, rel=1e-12, abs=1e-9)
    assert retained_pct(before, after).tolist() == pytest.approx([a / b * 100 for b, a in pairs], rel=1e-12)
    assert (forgotten_pct(before, after) + retained_pct(before, after)).tolist() == pytest.approx([100] * len(pairs))
    assert forgotten_pct(before[::-1], after[::-1]).tolist() == forgotten_pct(before, after).tolist()[::-1]


@given(ACCURACY, st.floats(0, 1), st.floats(0, 1))
def test_percentages_are_monotonic(before, after, more):
    low, high = sorted((after, more))
    assert retained_pct(before, low) <= retained_pct(before, high)
    assert forgotten_pct(before, low) >= forgotten_pct(before, high)


def test_percentages_at_their_limits():
    assert forgotten_pct(0.8, 0.0) == retained_pct(0.8, 0.8) == 100.0
    assert forgotten_pct(0.8, 0.8) == retained_pct(0.8, 0.0) == 0.0
    assert forgotten_pct(0.5, 1.0) == -100.0
    assert retained_pct(0.5, [0.25, 0.5]).tolist() == [50.0, 100.0]


@pytest.mark.parametrize("function", [forgotten_pct, retained_pct])
def test_percentages_of_bad_input(function):
    with pytest.raises(ValueError, match=r"`before` must be above 0, got 0\.0: nothing was known"):
        function([0.5, 0.0], [0.5, 0.5])
    with pytest.raises(ValueError, match=r"must have the same shape, got \(2,\) and \(3,\)"):
        function([0.5, 0.5], [0.5, 0.5, 0.5])
    for bad in ([], [-0.1], [np.nan], [np.inf]):
        with pytest.raises(ValueError, match="`after`"):
            function(0.5, bad)
        with pytest.raises(ValueError, match="`before`"):
            function(bad, 0.5)


@ROBUSTNESS
@given(NUMBER, NUMBER)
def test_robustness_agrees_with_the_definition(robustness, before, after):
    scale = abs(before) + abs(after)
    expected = 1 - abs(before - after) / scale if scale else 1.0
    assert robustness(before, after) == pytest.approx(expected, abs=1e-12)
    assert robustness(before, after) == robustness(after, before)
    assert 0 <= robustness(before, after) <= 1
    assert robustness([before, 1.0], [after, 1.0]).tolist() == [robustness(before, after), 1.0]


@ROBUSTNESS
@given(st.floats(0.01, 1), st.floats(0, 1), st.floats(0, 1))
def test_a_larger_change_is_less_robust(robustness, before, change, more):
    small, large = sorted((change, more))
    assert robustness(before, before + small) >= robustness(before, before + large)


@ROBUSTNESS
def test_robustness_at_its_limits(robustness):
    assert robustness(0.0, 0.0) == robustness(0.3, 0.3) == 1.0
    assert robustness(0.3, 0.0) == robustness(0.0, 0.3) == robustness(0.3, -0.3) == 0.0


@ROBUSTNESS
def test_robustness_of_bad_input(robustness):
    with pytest.raises(ValueError, match="must have the same shape"):
        robustness([1.0, 2.0], [1.0, 2.0, 3.0])
    for bad in ([], [np.nan], [np.inf]):
        with pytest.raises(ValueError, match="`before`"):
            robustness(bad, [1.0])
        with pytest.raises(ValueError, match="`after`"):
            robustness([1.0], bad)


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0.01, 0.99)), min_size=1))
def test_privleak_agrees_with_the_definitions(areas):
    found, reference = [area[0] for area in areas], [area[1] for area in areas]
    expected = [(a - r) / r * 100 for a, r in areas]
    published = [((1 - a) - (1 - r)) / (1 - r + 1e-10) * 100 for a, r in areas]
    assert privleak(found, reference).tolist() == pytest.approx(expected, rel=1e-9, abs=1e-9)
    assert privleak(found, reference, ou_compat=True).tolist() == pytest.approx(published, rel=1e-9, abs=1e-9)
    assert (privleak(found, reference) * privleak(found, reference, ou_compat=True) <= 0).all()
    assert (privleak(found, reference) >= -100).all()


@given(st.floats(0, 1), st.floats(0, 1), st.floats(0.01, 0.99))
def test_privleak_is_monotonic(area, other, reference):
    low, high = sorted((area, other))
    assert privleak(low, reference) <= privleak(high, reference)
    assert privleak(low, reference, ou_compat=True) >= privleak(high, reference, ou_compat=True)


def test_privleak_at_its_limits():
    assert privleak(0.4, 0.4) == privleak(0.4, 0.4, ou_compat=True) == 0.0
    assert privleak(0.0, 0.5) == -100.0
    assert privleak(1.0, 0.5) == 100.0
    assert privleak([0.25, 0.5], 0.5).tolist() == [-50.0, 0.0]


def test_privleak_has_no_default_reference():
    with pytest.raises(TypeError, match="retrained_auc"):
        privleak(0.5)
    with pytest.raises(ValueError, match="`retrained_auc` must be above 0"):
        privleak(0.5, 0.0)
    with pytest.raises(ValueError, match="`retrained_auc` must be below 1"):
        privleak(0.5, 1.0, ou_compat=True)
    with pytest.raises(ValueError, match="same shape"):
        privleak([0.5, 0.5], [0.5, 0.5, 0.5])
    for bad in ([], [1.5], [-0.1], [np.nan]):
        with pytest.raises(ValueError, match="`auc`"):
            privleak(bad, [0.5])
