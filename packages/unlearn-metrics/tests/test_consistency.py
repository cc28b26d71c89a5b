import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from unlearn_metrics.functional import cross_modal_consistency

SCORE = st.one_of(st.just(0.0), st.floats(1e-6, 1))


def naive(a, b, kind):
    if a + b == 0:
        return 0.0
    return (a * a + b * b) / (a + b) if kind == "forget" else 2 * a * b / (a + b)


@given(st.lists(st.tuples(SCORE, SCORE), min_size=1), st.sampled_from(["forget", "retain"]))
def test_agrees_with_the_definition(pairs, kind):
    a, b = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    expected = [naive(*pair, kind) for pair in pairs]
    found = cross_modal_consistency(a, b, kind)
    assert found.tolist() == pytest.approx(expected, rel=1e-12, abs=1e-15)
    assert cross_modal_consistency(b, a, kind).tolist() == found.tolist()
    assert cross_modal_consistency(a[::-1], b[::-1], kind).tolist() == found.tolist()[::-1]


@given(SCORE, SCORE)
def test_bounds(a, b):
    forget, retain = (cross_modal_consistency(a, b, kind) for kind in ("forget", "retain"))
    assert min(a, b) * (1 - 1e-12) <= retain <= (a + b) / 2 * (1 + 1e-12)
    assert (a + b) / 2 * (1 - 1e-12) <= forget <= max(a, b) * (1 + 1e-12)
    assert forget + retain == pytest.approx(a + b)


@given(SCORE, SCORE, SCORE)
def test_knowing_more_never_lowers_what_is_kept(a, b, more):
    low, high = sorted((b, more))
    assert cross_modal_consistency(a, low, "retain") <= cross_modal_consistency(a, high, "retain") * (1 + 1e-12)


def test_limits():
    for kind in ("forget", "retain"):
        assert cross_modal_consistency(0.0, 0.0, kind) == 0.0
        assert cross_modal_consistency(0.3, 0.3, kind) == pytest.approx(0.3)
        assert cross_modal_consistency(1e-200, 1e-200, kind) == 1e-200
    assert cross_modal_consistency(0.0, 0.6, "forget") == 0.6
    assert cross_modal_consistency(0.0, 0.6, "retain") == 0.0


def test_bad_input():
    with pytest.raises(ValueError, match="`kind` must be 'forget' or 'retain', got 'real'"):
        cross_modal_consistency(0.5, 0.5, "real")
    with pytest.raises(ValueError, match="same shape"):
        cross_modal_consistency([0.5, 0.5], [0.5, 0.5, 0.5], "forget")
    for bad in ([], [-0.1], [np.nan], [np.inf]):
        with pytest.raises(ValueError, match="`multimodal`"):
            cross_modal_consistency(bad, [0.5], "forget")
        with pytest.raises(ValueError, match="`text`"):
            cross_modal_consistency([0.5], bad, "retain")
