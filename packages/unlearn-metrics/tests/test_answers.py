import pytest
from hypothesis import given
from hypothesis import strategies as st
from unlearn_metrics.functional import keyword_accuracy, mcq_accuracy, model_utility

NLL = st.integers(0, 4).map(float)


@given(st.lists(st.tuples(NLL, st.lists(NLL, min_size=3, max_size=3)), min_size=1))
def test_mcq_accuracy_agrees_with_the_definition(rows):
    def credit(right, wrong):
        best = min([right, *wrong])
        return (right == best) / [right, *wrong].count(best)

    right, wrong = [row[0] for row in rows], [row[1] for row in rows]
    assert mcq_accuracy(right, wrong).tolist() == pytest.approx([credit(*row) for row in rows])


def test_a_model_that_finds_all_options_alike_scores_as_by_chance():
    assert mcq_accuracy(1.0, [1.0, 1.0, 1.0]) == 0.25


@pytest.mark.parametrize(
    ("prediction", "keyword", "found"),
    [
        ("Her name is Ann.", "Ann", True),
        ("Her name is Anna.", "Ann", False),
        ("HER NAME IS ANN", "ann", True),
        ("Zoë's novel", "zoe", True),
        ("zoe", "Zoë", True),
        ("Basil al kuwaiti", "Al-Kuwaiti", True),
        ("al Basil Kuwaiti", "Al-Kuwaiti", False),
        ("in 1,964 cases", "1964", False),
        ("Straße", "strasse", True),
        ("Москва́", "москва", True),
        ("ﬁne", "fine", True),
        ("snake_case", "case", True),
        ("", "Ann", False),
    ],
)
def test_keywords_are_whole_words_whatever_their_case_and_accents(prediction, keyword, found):
    assert keyword_accuracy(prediction, [keyword]) == found


@given(
    st.lists(st.sampled_from(["red", "green", "blue"]), min_size=1),
    st.lists(st.sampled_from(["red", "blue"]), min_size=1),
)
def test_keyword_accuracy_is_the_share_of_keywords_present(words, keywords):
    expected = sum(keyword in words for keyword in keywords) / len(keywords)
    assert keyword_accuracy(" ".join(words), keywords) == pytest.approx(expected)


def test_bad_keywords():
    with pytest.raises(ValueError, match="`keywords` is empty"):
        keyword_accuracy("text", [])
    with pytest.raises(ValueError, match="keyword '!' has no letter or digit"):
        keyword_accuracy("text", ["a", "!"])
    with pytest.raises(TypeError, match="Put it in a list"):
        keyword_accuracy("text", "text")


@given(st.lists(st.floats(1e-6, 1), min_size=1))
def test_model_utility_is_the_harmonic_mean(values):
    assert model_utility(values) == pytest.approx(len(values) / sum(1 / each for each in values), rel=1e-12)
    assert min(values) * (1 - 1e-12) <= model_utility(values) <= sum(values) / len(values) * (1 + 1e-12)
    assert model_utility([*values, 0.0]) == 0.0


@pytest.mark.parametrize("bad", [[], [-0.5], [float("nan")], [float("inf")]])
def test_model_utility_of_bad_values(bad):
    with pytest.raises(ValueError, match="`values`"):
        model_utility(bad)
