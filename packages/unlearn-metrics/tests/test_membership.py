import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from unlearn_metrics.functional import auc, min_k, min_k_pp, zlib_ratio

LOGP = st.lists(st.floats(-30, 0), min_size=1, max_size=20)
SHARE = st.sampled_from([0.1, 0.2, 0.4, 0.5, 1.0])
SCORES = st.lists(st.integers(-5, 5), min_size=1, max_size=20)


def lowest(values, k):
    count = max(1, int(len(values) * k))
    return sum(sorted(values)[:count]) / count


@given(st.lists(LOGP, min_size=1), SHARE)
def test_min_k_agrees_with_the_definition(answers, k):
    assert min_k(answers, k).tolist() == pytest.approx([lowest(each, k) for each in answers], rel=1e-12, abs=1e-12)
    assert min_k(answers[0], k) == min_k(answers, k)[0]
    assert min_k(answers[0][::-1], k) == pytest.approx(min_k(answers[0], k))
    assert min_k(answers[0], 1.0) == pytest.approx(np.mean(answers[0]))


@given(LOGP, SHARE)
def test_min_k_pp_agrees_with_the_definition(logp, k):
    mean, std = [each / 2 - 1 for each in logp], [0.1 + abs(each) for each in logp]
    scores = [(x - m) / s for x, m, s in zip(logp, mean, std, strict=True)]
    assert min_k_pp(logp, mean, std, k) == pytest.approx(lowest(scores, k), rel=1e-12, abs=1e-12)


def test_a_one_hot_distribution_has_no_spread():
    assert min_k_pp([0.0], [0.0], [0.0]) == 0.0


@given(SCORES, SCORES)
def test_auc_agrees_with_counting_pairs(forget, holdout):
    wins = sum((f > h) + 0.5 * (f == h) for f in forget for h in holdout)
    assert auc(forget, holdout) == pytest.approx(wins / len(forget) / len(holdout), rel=1e-14)
    assert auc(holdout, forget) == pytest.approx(1 - auc(forget, holdout), abs=1e-14)


def test_auc_at_its_limits():
    assert auc([2.0], [1.0]) == 1.0
    assert auc([1.0], [2.0]) == 0.0
    assert auc([1.0, 1.0], [1.0]) == 0.5


def test_zlib_ratio():
    texts = ["to be or not to be", "ñ"]
    expected = [2.0 / len(zlib.compress(text.encode())) for text in texts]
    assert zlib_ratio([2.0, 2.0], texts).tolist() == expected
    assert zlib_ratio(2.0, texts[0]) == expected[0]
    with pytest.raises(ValueError, match="as many, got 2 and 1"):
        zlib_ratio([1.0, 1.0], ["a"])


def test_bad_input():
    for k in (0, -1, 1.5, float("nan")):
        with pytest.raises(ValueError, match="`k` must be above 0 and at most 1"):
            min_k([-1.0], k)
    with pytest.raises(ValueError, match=r"`logp` must be finite and at most 0, got 0\.5 at position 1"):
        min_k([-1.0, 0.5])
    with pytest.raises(ValueError, match="same number of tokens"):
        min_k_pp([[-1.0, -1.0]], [[-1.0]], [[1.0]])
    for bad in ([], [np.nan]):
        with pytest.raises(ValueError, match="`forget`"):
            auc(bad, [1.0])
