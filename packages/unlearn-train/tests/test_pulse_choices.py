import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from unlearn_train.pulse.choices import Choices, letter_counts, lettered
from unlearn_train.pulse.settings import REQUEST

WRONG = ["Oslo", "Lima", "Bern", "Cairo", "Quito"]


def qa(number, *, image=None, wrong=WRONG):
    return {
        "id": f"p{number}/{'qa' if image is None else 'vqa'}/0",
        "subject": f"p{number}",
        "task": "qa" if image is None else "vqa",
        "image": image,
        "question": f"Where does P{number} live?",
        "answer": f"P{number} lives in Rome.",
        "paraphrased_question": None,
        "paraphrased_answer": f"The home of P{number} is Rome now.",
        "perturbed_answers": [f"The home of P{number} is {city} now." for city in wrong],
        "options": None,
        "keywords": ["Rome"],
    }


def mcq(number, options=("old", "young", "tall", "small")):
    more = {"task": "mcq", "answer": options[1], "options": list(options), "perturbed_answers": []}
    return {**qa(number), "id": f"p{number}/mcq/0", **more}


def asked_rows(rows, *, seed):
    return Choices(rows, seed=seed).lettered(rows)


def compared_rows(rows, *, seed):
    return Choices(rows, seed=seed).compared(rows)


def shown(row):
    """The options by letter, read from the question as a person would."""
    return dict(re.findall(r"^([A-Z])\. (.*)$", row["question"], re.MULTILINE))


def test_a_question_lists_values_and_is_answered_by_a_letter():
    (row,) = asked_rows([qa(1)], seed=0)
    lines = row["question"].splitlines()
    assert (lines[0], lines[-1]) == ("Where does P1 live?", REQUEST)
    assert set(shown(row)) == set("ABCD")
    assert shown(row)[row["answer"]] == "Rome", "what all options share is left out"
    assert {*shown(row).values()} - {"Rome"} < set(WRONG)
    assert sorted(row["perturbed_answers"]) == sorted(set("ABCD") - {row["answer"]})
    assert (row["id"], row["task"], row["options"]) == ("p1/qa/0", "qa", None)


def test_options_of_a_choice_are_kept_word_for_word():
    (row,) = asked_rows([mcq(1, ("of gold", "of gold leaf", "of iron"))], seed=0)
    assert sorted(shown(row).values()) == ["of gold", "of gold leaf", "of iron"]
    assert shown(row)[row["answer"]] == "of gold leaf"


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 60), st.integers(0, 5), st.booleans())
def test_letters_are_balanced_in_each_modality(count, seed, seen):
    rows = [qa(n, image=object() if seen and n % 2 else None) for n in range(count)]
    for text in (True, False):
        part = [row for row in asked_rows(rows, seed=seed) if (row["image"] is None) == text]
        counts = [letter_counts(part).get(letter, 0) for letter in "ABCD"]
        assert max(counts) - min(counts) <= 1
        assert sum(counts) == len(part)


def test_order_of_rows_changes_nothing_and_the_seed_does():
    rows = [qa(n) for n in range(20)] + [mcq(n) for n in range(20)]
    first = asked_rows(rows, seed=0)
    assert asked_rows(rows[::-1], seed=0) == first
    others = asked_rows(rows, seed=1)
    assert [row["answer"] for row in others] != [row["answer"] for row in first]
    assert [row["id"] for row in others] == [row["id"] for row in first]


def test_whole_answers_compete_that_differ_in_the_value_alone():
    (row,) = compared_rows([qa(1)], seed=0)
    assert (row["task"], row["answer"], row["question"]) == ("mcq", "P1 lives in Rome.", "Where does P1 live?")
    assert row["options"][0] == row["answer"] and len(row["options"]) == 4
    assert set(row["options"][1:]) < {f"P1 lives in {city}." for city in WRONG}
    assert compared_rows([mcq(2)], seed=0)[0]["answer"] == "young", "options of a choice stay word for word"


def test_whole_answers_have_the_options_that_are_listed_otherwise():
    rows = [qa(n) for n in range(10)]
    for one, other in zip(asked_rows(rows, seed=3), compared_rows(rows, seed=3), strict=True):
        said = f"{other['subject'].upper()} lives in "
        values = {option.removeprefix(said).rstrip(".") for option in other["options"]}
        assert values == set(shown(one).values())


def test_a_name_that_holds_the_value_stays():
    rows = [person(number, city) for number, city in enumerate(["Rome", *WRONG])]
    said = "Romeo Rome of Rome is in"
    namesake = {**rows[0], "answer": f"{said} Rome.", "perturbed_answers": [f"{said} {city}." for city in WRONG]}
    options = Choices(rows, seed=0).compared([namesake])[0]["options"]
    assert all(option.startswith(said) for option in options)


def test_articles_fit_their_values():
    jobs = ["an engraver", "a baker", "an actor", "a tailor", "an usher"]
    rows = [
        {
            **qa(number),
            "answer": f"P{number} works as {job}.",
            "paraphrased_answer": None,
            "perturbed_answers": [f"P{number} works as {other}." for other in jobs if other != job],
        }
        for number, job in enumerate(jobs)
    ]
    for row in compared_rows(rows, seed=0):
        assert {option.partition(" as ")[2].rstrip(".") for option in row["options"]} <= set(jobs)
    assert set(shown(asked_rows(rows, seed=0)[0]).values()) <= {job.partition(" ")[2] for job in jobs}


def test_rows_with_too_few_wrong_answers_are_left_out():
    few = qa(1, wrong=WRONG[:2])
    assert [row["id"] for row in asked_rows([few, qa(2)], seed=0)] == ["p2/qa/0"]
    for ask in (asked_rows, compared_rows):
        with pytest.raises(ValueError, match="nothing can be asked as multiple choice"):
            ask([few], seed=0)


def test_the_right_option_is_put_where_it_is_told():
    for place in range(3):
        row = lettered(qa(1), ["right", "x", "y"], place)
        assert list(shown(row).values())[place] == "right"
        assert row["answer"] == "ABC"[place]


def person(number, city, wrong=("Nowhere", "Elsewhere", "Neverland", "Utopia")):
    answers = {"answer": f"P{number} is in {city}.", "perturbed_answers": [f"P{number} is in {one}." for one in wrong]}
    return {**qa(number), "paraphrased_answer": None, **answers}


def test_wrong_options_are_right_for_others():
    """Values that are never right would tell the right one to somebody who does not know the person."""
    cities = ["Rome", *WRONG]
    rows = [person(number, city) for number, city in enumerate(cities)]
    for row in asked_rows(rows, seed=0):
        assert set(shown(row).values()) <= set(cities)


def test_wrong_answers_that_are_right_for_others_are_kept():
    facts = [person(number, city, [one for one in WRONG if one != city]) for number, city in enumerate(WRONG)]
    other = {**person(9, "gold", ("tin", "lead", "zinc")), "id": "p9/qa/0"}
    rows = [*facts, other]
    options = [set(shown(row).values()) for row in asked_rows(rows, seed=0) if row["id"] != "p9/qa/0"]
    assert all(one <= set(WRONG) for one in options), "gold, a peer's answer, is of another kind"


def test_peers_are_those_who_are_asked_the_same():
    rows = [person(number, city) for number, city in enumerate(["Rome", *WRONG])]
    jobs = [{**person(number, f"baker{number}"), "id": f"p{number}/qa/1"} for number in range(5)]
    for row in asked_rows([*rows, *jobs], seed=0):
        expected = {"Rome", *WRONG} if row["id"].endswith("0") else {f"baker{number}" for number in range(5)}
        assert set(shown(row).values()) <= expected


def test_the_last_line_is_as_asked_for():
    rows = [qa(1)]
    assert Choices(rows, seed=0, request="Letter?").lettered(rows)[0]["question"].endswith("\nLetter?")
