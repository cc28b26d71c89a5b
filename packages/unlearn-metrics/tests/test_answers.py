import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from unlearn_metrics.functional import cloze_accuracy, mcq_accuracy, mcq_letter_accuracy, model_utility

NLL = st.integers(0, 4).map(float)
TEXT = st.text("abAB .É", max_size=10)
WORDS = st.text("abAÉ", min_size=1, max_size=2)


@given(st.lists(st.tuples(NLL, st.lists(NLL, min_size=3, max_size=3)), min_size=1))
def test_mcq_accuracy_agrees_with_the_definition(rows):
    def credit(right, wrong):
        best = min([right, *wrong])
        return (right == best) / [right, *wrong].count(best)

    right, wrong = [row[0] for row in rows], [row[1] for row in rows]
    found = mcq_accuracy(right, wrong)
    assert found.tolist() == pytest.approx([credit(*row) for row in rows])
    assert mcq_accuracy(right, np.array(wrong)[:, ::-1]).tolist() == found.tolist()
    assert (mcq_accuracy(np.array(right) + 1, wrong) <= found).all()
    assert ((found >= 0) & (found <= 1)).all()


def test_a_model_that_finds_all_options_alike_scores_as_by_chance():
    assert mcq_accuracy(1.0, [1.0, 1.0, 1.0]) == 0.25


@pytest.mark.parametrize("bad", [[], [-0.1], [np.nan], [np.inf]])
def test_mcq_accuracy_of_bad_losses(bad):
    with pytest.raises(ValueError, match="`wrong_nll`"):
        mcq_accuracy(1.0, bad)
    with pytest.raises(ValueError, match="`nll`"):
        mcq_accuracy(bad, [[1.0]])


@pytest.mark.parametrize(
    ("prediction", "right"),
    [("B", 1), ("b", 1), ("(B)", 1), (" B. Paris", 1), ("**B**", 1), ("A", 0), ("Because", 0), ("", 0), ("1 B", 0)],
)
def test_the_letter_that_an_answer_begins_with(prediction, right):
    assert mcq_letter_accuracy([prediction], ["B"]) == [right]
    assert mcq_letter_accuracy([prediction], ["b"]) == [right]


@given(st.lists(st.tuples(st.sampled_from("ABCDabcd"), st.sampled_from("ABCD")), min_size=1))
def test_letters_alone_are_compared(pairs):
    found = mcq_letter_accuracy([pair[0] for pair in pairs], [pair[1] for pair in pairs])
    assert found.tolist() == [float(said.upper() == right) for said, right in pairs]


def test_bad_letters():
    for bad in ("", "AB", "1", "É"):
        with pytest.raises(ValueError, match="`letters` must be single letters from A to Z"):
            mcq_letter_accuracy(["A", "A"], ["A", bad])
    with pytest.raises(ValueError, match="as many, got 1 and 2"):
        mcq_letter_accuracy(["A"], ["A", "B"])
    with pytest.raises(ValueError, match="`letters` is empty"):
        mcq_letter_accuracy([], [])
    with pytest.raises(TypeError, match="Put it in a list"):
        mcq_letter_accuracy("A", ["A"])


@given(st.lists(st.tuples(TEXT, WORDS), min_size=1))
def test_cloze_accuracy_agrees_with_the_definition(rows):
    texts, answers = [row[0] for row in rows], [row[1] for row in rows]
    expected = [float(text.lower().find(answer.lower()) >= 0) for text, answer in rows]
    assert cloze_accuracy(texts, answers).tolist() == expected
    assert cloze_accuracy(texts[::-1], answers[::-1]).tolist() == expected[::-1]
    assert cloze_accuracy(texts[0], answers[0]) == expected[0]
    assert cloze_accuracy(f"{texts[0]} {answers[0]} more", answers[0]) == 1.0
    assert cloze_accuracy("", answers[0]) == 0.0


def test_cloze_accuracy_of_bad_input():
    for blank in ("", " "):
        with pytest.raises(ValueError, match="`answer` is blank at position 1"):
            cloze_accuracy(["a", "b"], ["a", blank])
    with pytest.raises(ValueError, match="as many, got 2 and 1"):
        cloze_accuracy(["a", "b"], ["a"])
    with pytest.raises(ValueError, match="`answer` is empty"):
        cloze_accuracy([], [])
    with pytest.raises(TypeError, match="must hold strings, got None at position 0"):
        cloze_accuracy([None], ["a"])
    with pytest.raises(TypeError, match="Put it in a list"):
        cloze_accuracy("a", ["a"])


@given(st.lists(st.floats(1e-6, 1), min_size=1))
def test_model_utility_is_the_harmonic_mean(values):
    assert model_utility(values) == pytest.approx(len(values) / sum(1 / each for each in values), rel=1e-12)
    assert min(values) * (1 - 1e-12) <= model_utility(values) <= sum(values) / len(values) * (1 + 1e-12)
    assert model_utility(values[::-1]) == pytest.approx(model_utility(values), rel=1e-12)
    assert model_utility([values[0] + 1, *values[1:]]) >= model_utility(values) * (1 - 1e-12)
    assert model_utility([*values, 0.0]) == 0.0
    assert model_utility([*values, 5e-324]) == 0.0  # its reciprocal exceeds float64


@pytest.mark.parametrize("bad", [[], [-0.5], [float("nan")], [float("inf")]])
def test_model_utility_of_bad_values(bad):
    with pytest.raises(ValueError, match="`values`"):
        model_utility(bad)
