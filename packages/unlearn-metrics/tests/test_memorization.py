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


def published_strength(hit):
    """OpenUnlearning's search, which ends at the last token whether it is right or not."""
    k = 0
    while k < len(hit) - 1 and not all(hit[k:]):
        k += 1
    return 1 - k / len(hit)


@given(st.lists(HIT, min_size=1))
def test_strength_as_open_unlearning_has_it(hits):
    found = extraction_strength(hits, ou_compat=True)
    assert found.tolist() == pytest.approx([published_strength(hit) for hit in hits], abs=1e-15)
    assert (found >= extraction_strength(hits)).all()


@given(HIT)
def test_one_more_hit_never_memorizes_less(hit):
    for at in range(len(hit)):
        better = [*hit[:at], True, *hit[at + 1 :]]
        assert extraction_strength(better) >= extraction_strength(hit)
        assert exact_memorization(better) >= exact_memorization(hit)
    assert exact_memorization(hit[::-1]) == exact_memorization(hit)


@given(HIT)
def test_one_answer_and_bounds(hit):
    assert extraction_strength(hit) == extraction_strength([hit])[0]
    assert exact_memorization(hit) == exact_memorization([hit])[0]
    assert 0 <= extraction_strength(hit) <= exact_memorization(hit) <= 1


def test_limits():
    assert extraction_strength([True]) == exact_memorization([True]) == 1.0
    assert extraction_strength([False]) == exact_memorization([False]) == 0.0
    assert extraction_strength([True, True, False]) == 0.0
    assert extraction_strength([False], ou_compat=True) == 1.0
    assert extraction_strength([True, True, False, False], ou_compat=True) == 0.25
    assert exact_memorization(np.array([[1, 0], [1, 1]])).tolist() == [0.5, 1.0]


@pytest.mark.parametrize("function", [extraction_strength, exact_memorization])
def test_bad_input(function):
    with pytest.raises(ValueError, match="`hit` is empty"):
        function([])
    with pytest.raises(ValueError, match="empty answer at position 1"):
        function([[True], []])
    with pytest.raises(ValueError, match=r"True and False alone, got 0\.5 at position 0"):
        function([0.5, 1.0])
    with pytest.raises(ValueError, match="True and False alone, got nan in answer 1 at position 1"):
        function([[1.0], [1.0, np.nan]])
