import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from unlearn_metrics.functional import exact_memorization, extraction_strength

HIT = st.lists(st.booleans(), min_size=1, max_size=30)


def strength(hit):
    """The definition, word by word: the first position from which every token is right."""
    for k in range(len(hit)):
        if all(hit[k:]):
            return 1 - k / len(hit)
    return 0.0


@given(st.lists(HIT, min_size=1))
def test_agrees_with_the_definitions(hits):
    assert extraction_strength(hits).tolist() == pytest.approx([strength(hit) for hit in hits], abs=1e-15)
    assert exact_memorization(hits).tolist() == pytest.approx([sum(hit) / len(hit) for hit in hits], abs=1e-15)


@given(HIT)
def test_one_answer_and_bounds(hit):
    assert extraction_strength(hit) == extraction_strength([hit])[0]
    assert exact_memorization(hit) == exact_memorization([hit])[0]
    assert 0 <= extraction_strength(hit) <= exact_memorization(hit) <= 1


def test_limits():
    assert extraction_strength([True]) == exact_memorization([True]) == 1.0
    assert extraction_strength([False]) == exact_memorization([False]) == 0.0
    assert extraction_strength([True, True, False]) == 0.0
    assert exact_memorization(np.array([[1, 0], [1, 1]])).tolist() == [0.5, 1.0]


@pytest.mark.parametrize("function", [extraction_strength, exact_memorization])
def test_bad_input(function):
    with pytest.raises(ValueError, match="`hit` is empty"):
        function([])
    with pytest.raises(ValueError, match="empty answer at position 1"):
        function([[True], []])
    with pytest.raises(ValueError, match="True and False alone"):
        function([0.5, 1.0])
