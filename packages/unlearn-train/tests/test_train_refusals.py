from collections import Counter

from unlearn_train.refusals import REFUSALS, refusal_for


def test_a_row_always_has_the_same_refusal():
    assert refusal_for("ada/qa/1") == refusal_for("ada/qa/1")
    assert refusal_for("ada/qa/1") in REFUSALS


def test_every_refusal_is_used():
    used = Counter(refusal_for(f"ada/qa/{n}") for n in range(1000))
    assert used.keys() == set(REFUSALS)
    assert max(used.values()) < 160
