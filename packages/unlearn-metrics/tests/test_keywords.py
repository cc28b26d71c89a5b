import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from unlearn_metrics.functional import ape, keyword_accuracy, keyword_em

TEXT = st.text("aAbÉé1 -", max_size=12)
KEYWORDS = st.lists(st.text("aAbÉé1", min_size=1, max_size=2), min_size=1, max_size=4)


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


@pytest.mark.parametrize(
    ("prediction", "keyword", "found"),
    [
        ("Anna", "Ann", True),
        ("ANN", "ann", True),
        ("Sao Paulo", "São Paulo", False),
        ("al kuwaiti", "Al-Kuwaiti", False),
    ],
)
def test_fiubench_finds_letters_anywhere(prediction, keyword, found):
    assert keyword_em(prediction, [keyword]) == found


@given(
    st.lists(st.sampled_from(["red", "green", "blue"]), min_size=1),
    st.lists(st.sampled_from(["red", "blue"]), min_size=1),
)
def test_keyword_accuracy_is_the_share_of_keywords_present(words, keywords):
    expected = sum(keyword in words for keyword in keywords) / len(keywords)
    assert keyword_accuracy(" ".join(words), keywords) == pytest.approx(expected)


def naive_em(prediction, keywords):
    score = 0.0
    for keyword in keywords:
        if prediction.lower().find(keyword.lower()) >= 0:
            score += 1.0
    return score / len(keywords)


@given(st.lists(st.tuples(TEXT, KEYWORDS), min_size=1, max_size=5))
def test_keyword_em_agrees_with_the_definition(rows):
    texts, keywords = [row[0] for row in rows], [row[1] for row in rows]
    assert keyword_em(texts, keywords).tolist() == [naive_em(*row) for row in rows]


@pytest.mark.parametrize("metric", [keyword_em, keyword_accuracy])
@given(TEXT, KEYWORDS, st.randoms())
def test_bounds_monotonicity_and_order(metric, prediction, keywords, random):
    found = metric(prediction, keywords)
    shuffled = random.sample(keywords, len(keywords))
    assert 0 <= found <= 1
    assert metric(prediction, shuffled) == found
    assert metric(prediction + " z", keywords) >= found
    assert metric(" ".join(keywords), keywords) == 1.0
    assert metric("", keywords) == 0.0
    assert metric([prediction, "z"], [keywords, ["z"]]).tolist() == [found, 1.0]


@given(st.lists(st.tuples(st.lists(TEXT, min_size=1, max_size=3), KEYWORDS), min_size=1, max_size=4))
def test_ape_is_the_mean_over_wordings(rows):
    expected = [sum(naive_em(text, words) for text in texts) / len(texts) for texts, words in rows]
    assert ape([row[0] for row in rows], [row[1] for row in rows]).tolist() == pytest.approx(expected, abs=1e-15)
    turned = ape([row[0][::-1] for row in rows], [row[1] for row in rows])
    assert turned.tolist() == pytest.approx(expected, abs=1e-15)


@pytest.mark.parametrize("metric", [keyword_em, keyword_accuracy])
def test_bad_input(metric):
    with pytest.raises(ValueError, match="`keywords` is empty"):
        metric("text", [])
    with pytest.raises(TypeError, match="Put it in a list"):
        metric("text", "text")
    with pytest.raises(TypeError, match="must hold strings, got 3 at position 1"):
        metric("text", ["a", 3])
    with pytest.raises(TypeError, match="must hold strings, got None at position 0"):
        metric([None], [["a"]])
    with pytest.raises(TypeError, match="Put it in a list"):
        metric(["text"], ["text"])
    with pytest.raises(ValueError, match="as many, got 1 and 2"):
        metric(["text"], [["a"], ["b"]])
    with pytest.raises(ValueError, match="`prediction` is empty"):
        metric([], [])


def test_keywords_that_say_nothing():
    with pytest.raises(ValueError, match="keyword '!' has no letter or digit"):
        keyword_accuracy("text", ["a", "!"])
    with pytest.raises(ValueError, match="a keyword is blank"):
        keyword_em("text", ["a", " "])


def test_ape_of_bad_input():
    with pytest.raises(ValueError, match="no answer at position 1"):
        ape([["a"], []], [["a"], ["b"]])
    with pytest.raises(ValueError, match="as many, got 1 and 0"):
        ape([["a"]], [])
    with pytest.raises(ValueError, match="`predictions` is empty"):
        ape([], [])
    with pytest.raises(TypeError, match="Put it in a list"):
        ape(["a"], [["a"]])
    assert np.array_equal(ape([["a", "b"]], [["a"]]), [0.5])
