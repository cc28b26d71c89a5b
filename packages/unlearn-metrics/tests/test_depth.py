import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from unlearn_metrics.functional import unlearning_depth

DROP = st.floats(-3, 5)
LAYERS = st.lists(st.tuples(DROP, DROP), min_size=1, max_size=12).filter(
    lambda layers: any(a > 0.05 for a, _ in layers)
)


def naive(layers, threshold=0.05):
    counted = [(first, second) for first, second in layers if first > threshold]
    return sum(a * min(1.0, max(0.0, b / a)) for a, b in counted) / sum(a for a, _ in counted)


@given(LAYERS)
def test_agrees_with_the_definition(layers):
    first, second = np.transpose(layers)
    found = unlearning_depth(first, second)
    assert found == pytest.approx(naive(layers), rel=1e-12, abs=1e-15)
    assert 0 <= found <= 1 + 1e-15
    assert unlearning_depth(first[::-1], second[::-1]) == pytest.approx(found, rel=1e-12)
    assert unlearning_depth([first, first], [second, second]).tolist() == pytest.approx([found, found])


@given(LAYERS, st.floats(0, 2))
def test_a_larger_drop_is_never_less_deep(layers, more):
    first, second = np.transpose(layers)
    assert unlearning_depth(first, second) <= unlearning_depth(first, second + more) + 1e-15


def test_limits():
    assert unlearning_depth([1.0, 2.0], [1.0, 2.0]) == unlearning_depth([1.0, 2.0], [9.0, 9.0]) == 1.0
    assert unlearning_depth([1.0, 2.0], [0.0, -1.0]) == 0.0
    assert unlearning_depth([0.05, 1.0], [9.0, 0.5]) == 0.5
    assert unlearning_depth([0.05, 1.0], [0.05, 0.5], threshold=0.0) == pytest.approx(0.55 / 1.05)


def test_bad_input():
    with pytest.raises(ValueError, match=r"no layer drops by more than 0\.05 in answer 1"):
        unlearning_depth([[1.0, 0.0], [0.05, -1.0]], [[1.0, 1.0], [1.0, 1.0]])
    with pytest.raises(ValueError, match="no layer drops"):
        unlearning_depth([0.01], [1.0])
    with pytest.raises(ValueError, match="same shape"):
        unlearning_depth([1.0, 1.0], [1.0])
    for threshold in (-0.1, np.nan, np.inf):
        with pytest.raises(ValueError, match="`threshold` must be finite and at least 0"):
            unlearning_depth([1.0], [1.0], threshold)
    for bad in ([], [np.nan]):
        with pytest.raises(ValueError, match="`retrained_drops`"):
            unlearning_depth(bad, [1.0])
        with pytest.raises(ValueError, match="`unlearned_drops`"):
            unlearning_depth([1.0], bad)
