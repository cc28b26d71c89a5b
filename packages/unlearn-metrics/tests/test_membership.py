import itertools
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from unlearn_metrics.functional import ATTACKS, _inputs, auc, min_k, min_k_pp, reference_difference, zlib_ratio

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
    assert min(answers[0]) - 1e-12 <= min_k(answers[0], k) <= np.mean(answers[0]) + 1e-12
    assert (min_k([np.array(each) - 1 for each in answers], k) < min_k(answers, k)).all()


@given(LOGP)
def test_more_of_the_tokens_are_never_less_probable(logp):
    found = [min_k(logp, k) for k in (0.1, 0.3, 0.5, 0.9, 1.0)]
    assert all(low <= high + 1e-12 for low, high in itertools.pairwise(found))


@given(st.lists(LOGP, min_size=3), SHARE)
def test_blocks_change_nothing(answers, k):
    moments = [[-2.0] * len(each) for each in answers], [[0.5] * len(each) for each in answers]
    whole = min_k(answers, k), min_k_pp(answers, *moments, k)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_inputs, "_BLOCK", 2)
        found = min_k(answers, k), min_k_pp(answers, *moments, k)
    assert np.array_equal(found, whole)


def test_answers_as_one_array():
    table = -np.arange(24.0).reshape(4, 6)
    assert min_k(table).tolist() == min_k(list(table)).tolist() == min_k(table.tolist()).tolist()
    assert min_k(table.astype(np.float32)).dtype == np.float64


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
    mirrored = auc(np.negative(forget), np.negative(holdout))
    assert auc(forget, holdout, members="low") == pytest.approx(mirrored, abs=1e-14)
    assert auc(forget[::-1], holdout[::-1]) == auc(forget, holdout)
    assert auc([each + 1 for each in forget], holdout) >= auc(forget, holdout)
    assert auc(np.exp(forget), np.exp(holdout)) == auc(forget, holdout)


def test_auc_at_its_limits():
    assert auc([2.0], [1.0]) == 1.0
    assert auc([1.0], [2.0]) == 0.0
    assert auc([1.0, 1.0], [1.0]) == 0.5
    assert auc([2.0], [1.0], members="low") == 0.0


@pytest.mark.parametrize("attack", ATTACKS)
def test_every_attack_recognizes_a_member(attack):
    """A member: low loss, high token probabilities, a small gradient, easier than for the reference model."""
    member, stranger = np.full((1, 4), -0.1), np.full((1, 4), -3.0)
    scores = {
        "grad_norm": lambda logp: -logp.mean(axis=1),
        "loss": lambda logp: -logp.mean(axis=1),
        "min_k": min_k,
        "min_k_pp": lambda logp: min_k_pp(logp, np.full((1, 4), -2.0), np.ones((1, 4))),
        "reference": lambda logp: reference_difference(-logp.mean(axis=1), [3.0]),
        "zlib": lambda logp: zlib_ratio(-logp.mean(axis=1), ["the same text"]),
    }[attack]
    assert auc(scores(member), scores(stranger), members=ATTACKS[attack]) == 1.0


@given(st.lists(st.tuples(st.floats(0, 60), st.floats(0, 60)), min_size=1))
def test_reference_difference(pairs):
    nll, reference = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    found = reference_difference(nll, reference)
    assert found.tolist() == [a - b for a, b in pairs]
    assert reference_difference(reference, nll).tolist() == (-found).tolist()
    assert reference_difference(nll[0], nll[0]) == 0.0


def test_reference_difference_of_bad_input():
    with pytest.raises(ValueError, match=r"same shape, got \(2,\) and \(1,\)"):
        reference_difference([1.0, 1.0], [1.0])
    for bad in ([], [-0.1], [np.nan]):
        with pytest.raises(ValueError, match="`nll`"):
            reference_difference(bad, [1.0])
        with pytest.raises(ValueError, match="`reference_nll`"):
            reference_difference([1.0], bad)


def test_zlib_ratio():
    texts = ["to be or not to be", "ñ"]
    expected = [2.0 / len(zlib.compress(text.encode())) for text in texts]
    assert zlib_ratio([2.0, 2.0], texts).tolist() == expected
    assert zlib_ratio(2.0, texts[0]) == expected[0]
    assert (zlib_ratio([2.0, 3.0], ["a", "a"]) * len(zlib.compress(b"a"))).tolist() == [2.0, 3.0]
    assert zlib_ratio(0.0, "a") == 0.0
    with pytest.raises(ValueError, match="as many, got 2 and 1"):
        zlib_ratio([1.0, 1.0], ["a"])
    with pytest.raises(TypeError, match="must hold strings, got None at position 1"):
        zlib_ratio([1.0, 1.0], ["a", None])
    for bad in (-0.1, np.nan):
        with pytest.raises(ValueError, match="`nll` must be finite and at least 0"):
            zlib_ratio(bad, "a")


def test_bad_input():
    for k in (0, -1, 1.5, float("nan")):
        with pytest.raises(ValueError, match="`k` must be above 0 and at most 1"):
            min_k([-1.0], k)
    with pytest.raises(ValueError, match=r"`logp` must be finite and at most 0, got 0\.5 at position 1"):
        min_k([-1.0, 0.5])
    with pytest.raises(ValueError, match="same number of tokens"):
        min_k_pp([[-1.0, -1.0]], [[-1.0]], [[1.0]])
    with pytest.raises(ValueError, match=r"got 0\.5 in answer 1 at position 2"):
        min_k([[-1.0], [-1.0, -2.0, 0.5]])
    with pytest.raises(ValueError, match="as many answers, got 1, 2 and 1"):
        min_k_pp([[-1.0]], [[-1.0], [-1.0]], [[1.0]])
    with pytest.raises(ValueError, match="`std` must be finite and at least 0, got -1"):
        min_k_pp([-1.0], [-1.0], [-1.0])
    with pytest.raises(TypeError, match="`logp` must be an answer or a sequence of answers"):
        min_k(-1.0)
    for bad in ([[-1.0], -2.0], [[[-1.0]], [[-2.0]]], [[-1.0], []], [[]], []):
        with pytest.raises(ValueError, match="`logp`"):
            min_k(bad)
    for bad in ([], [np.nan]):
        with pytest.raises(ValueError, match="`forget`"):
            auc(bad, [1.0])
        with pytest.raises(ValueError, match="`holdout`"):
            auc([1.0], bad)
    with pytest.raises(ValueError, match="`members` must be 'high' or 'low', got 'more'"):
        auc([1.0], [1.0], members="more")
