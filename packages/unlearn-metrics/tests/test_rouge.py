import re
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nltk.stem.porter import PorterStemmer
from rouge_score import rouge_scorer
from unlearn_metrics.functional import _porter, rouge_l_recall, rouge_l_recalls

GOOGLE = rouge_scorer.RougeScorer(["rougeL"], use_stemmer=True)
NLTK = PorterStemmer()

LETTERS = st.text("aeiouybcdglnstwxz1", max_size=7)
SUFFIXES = st.sampled_from(
    [
        *_porter._STEP_2,
        *_porter._STEP_3,
        *_porter._STEP_4,
        "ed",
        "ing",
        "ies",
        "ied",
        "eed",
        "sses",
        "s",
        "y",
        "ll",
        "logi",
    ]
)
WORDS = st.builds(lambda start, ends: start + "".join(ends), LETTERS, st.lists(SUFFIXES, max_size=3)).filter(len)
OTHERS = st.sampled_from(["the", "The,", "novels", "novel’s", "wrote", "writing", "café", "1964", "Ünal", "ﬁne"])
TEXTS = st.lists(st.one_of(WORDS, OTHERS), max_size=12)


@given(WORDS)
def test_stems_are_those_of_nltk(word):
    assert _porter.stem(word) == NLTK.stem(word)


@pytest.mark.parametrize(
    "word",
    [
        *_porter._IRREGULAR,
        "conditionally",
        "feed",
        "agreed",
        "bled",
        "sing",
        "yyyy",
        "ion",
        "generalizations",
        "apologies",
        "controlling",
        "a",
    ],
)
def test_stems_of_special_words(word):
    assert _porter.stem(word) == NLTK.stem(word)


@given(TEXTS, TEXTS)
def test_recall_is_bit_for_bit_that_of_google(prediction, reference):
    prediction, reference = " ".join(prediction), " ".join([*reference, "end"])
    assert rouge_l_recall(prediction, reference) == GOOGLE.score(reference, prediction)["rougeL"].recall


@given(st.text(max_size=40), st.text(max_size=40).filter(lambda text: re.search("[a-z0-9]", text.lower())))
def test_any_text_goes(prediction, reference):
    assert rouge_l_recall(prediction, reference) == GOOGLE.score(reference, prediction)["rougeL"].recall


def longest_common_subsequence(a, b):
    if not a or not b:
        return 0
    if a[-1] == b[-1]:
        return 1 + longest_common_subsequence(a[:-1], b[:-1])
    return max(longest_common_subsequence(a[:-1], b), longest_common_subsequence(a, b[:-1]))


@given(st.lists(st.sampled_from("abc"), max_size=6), st.lists(st.sampled_from("abc"), min_size=1, max_size=6))
def test_recall_by_definition(prediction, reference):
    expected = longest_common_subsequence(prediction, reference) / len(reference)
    assert rouge_l_recall(" ".join(prediction), " ".join(reference)) == expected


@given(TEXTS)
def test_limits(words):
    reference = " ".join([*words, "end"])
    assert rouge_l_recall(reference, reference) == 1.0
    assert rouge_l_recall("", reference) == 0.0
    assert rouge_l_recall("begin " + reference + " more", reference) == 1.0


def test_many_pairs_are_as_one_at_a_time():
    predictions, references = ["she wrote novels", "", "12 Rue"], ["novel writing", "Paris", "rue 12"]
    expected = [rouge_l_recall(*pair) for pair in zip(predictions, references, strict=True)]
    assert rouge_l_recalls(predictions, references).tolist() == expected == [0.5, 0.0, 0.5]


def test_no_words_and_no_pairs_are_errors():
    with pytest.raises(ValueError, match="'…' has no word"):
        rouge_l_recall("anything", "…")
    with pytest.raises(ValueError, match="is empty"):
        rouge_l_recalls([], [])
    with pytest.raises(ValueError, match="as many, got 1 and 2"):
        rouge_l_recalls(["a"], ["a", "b"])
    with pytest.raises(TypeError, match="`predictions` must be a sequence of strings, got the string 'ab'"):
        rouge_l_recalls("ab", ["a", "b"])
    with pytest.raises(TypeError, match="`references` must hold strings, got None at position 1"):
        rouge_l_recalls(["a", "b"], ["a", None])


@given(TEXTS, st.lists(WORDS, min_size=1, max_size=8))
def test_more_said_never_recalls_less(prediction, reference):
    found = rouge_l_recall(" ".join(prediction), " ".join(reference))
    assert 0 <= found <= 1
    assert rouge_l_recall(" ".join([*prediction, *reference[:1]]), " ".join(reference)) >= found
    backwards = rouge_l_recall(" ".join(prediction[::-1]), " ".join(reference[::-1]))
    if not any("’" in word for word in prediction):
        assert backwards == found


def test_more_stems_than_a_byte_or_two_can_number():
    words = [f"{first}q{n}x" for n in range(35_000) for first in "ab"]
    predictions = [" ".join(words[i : i + 10]) for i in range(0, len(words), 10)]
    references = [" ".join(words[i + 5 : i + 10] + words[i : i + 5]) for i in range(0, len(words), 10)]
    assert set(rouge_l_recalls(predictions, references).tolist()) == {0.5}


def test_threads_share_the_stems(monkeypatch):
    from unlearn_metrics.functional import _rouge

    monkeypatch.setattr(_rouge, "_CACHE_SIZE", 50)
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    words = [f"w{n}ing" for n in range(200)]
    pairs = [(" ".join(words[i : i + 10]), " ".join(words[i + 5 : i + 15])) for i in range(185)]
    try:
        with ThreadPoolExecutor(4) as pool:
            found = list(pool.map(lambda _: rouge_l_recalls(*zip(*pairs, strict=True)).tolist(), range(150)))
    finally:
        sys.setswitchinterval(interval)
    assert found == [[0.5] * len(pairs)] * 150


def test_a_full_stem_cache_starts_afresh(monkeypatch):
    from unlearn_metrics.functional import _rouge

    monkeypatch.setattr(_rouge, "_CACHE_SIZE", 2)
    for _ in range(2):
        assert rouge_l_recall("one two three four five", "five four three two one") == 0.2
        assert rouge_l_recall("novel writing", "novels written by writers") == 0.25
    assert len(_rouge._STEMS) <= 6
