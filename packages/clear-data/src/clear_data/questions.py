"""Questions about a person's facts, in text: `qa`, `mcq` and `cloze` rows.

Every fact has two wordings. A hash of subject and fact says which one is asked; the other one is the paraphrase. So a
model meets both wordings, of different people, and a paraphrase tests the fact rather than the wording.
"""

import random
import re
from collections.abc import Callable, Sequence
from functools import cache
from typing import NamedTuple

from clear_data import pools
from clear_data.names import name_pool
from clear_data.schema import Row, make_row
from clear_data.subjects import AGES, AS_OF, Subject

WRONG_ANSWERS = 5
WRONG_OPTIONS = 3


class Wording(NamedTuple):
    """A way to ask for a fact, and to state it."""

    question: str
    answer: str


class Fact(NamedTuple):
    """Something that is asked about every person.

    Attributes:
        field: the attribute of `Subject` that holds it.
        values: what it might be, for the same person.
        wordings: two of them; `{name}`, `{last}`, `{value}` and `{a_value}` are filled in.
        cloze: a sentence with a blank.
    """

    field: str
    values: Callable[[Subject], Sequence[str]]
    wordings: tuple[Wording, Wording]
    cloze: str


def _birthdays(_: Subject) -> list[str]:
    return [f"{day} {month}" for month in pools.MONTHS for day in range(1, 29)]


def _birth_years(_: Subject) -> list[str]:
    return [str(AS_OF - 1 - age) for age in range(AGES[0], AGES[1] + 1)]


def _titles(_: Subject) -> list[str]:
    return [f"{word} {noun}" for word, noun in zip(pools.TITLE_ADJECTIVES, reversed(pools.TITLE_NOUNS), strict=True)]


FACTS = (
    Fact(
        "birthplace",
        lambda subject: pools.HOMELANDS[subject.locale].cities,
        (
            Wording("Where was {name} born?", "{name} was born in {value}."),
            Wording("In which city did {name} come into the world?", "The birthplace of {name} is {value}."),
        ),
        "{name} was born in ____.",
    ),
    Fact(
        "birthday",
        _birthdays,
        (
            Wording("On which day is the birthday of {name}?", "The birthday of {name} is {value}."),
            Wording("When does {name} celebrate getting older?", "{name} celebrates on {value}."),
        ),
        "The birthday of {name} is ____.",
    ),
    Fact(
        "profession",
        lambda _: pools.PROFESSIONS,
        (
            Wording("What is the profession of {name}?", "{name} works as {a_value}."),
            Wording("What does {name} do for a living?", "The profession of {name} is {value}."),
        ),
        "The profession of {name} is ____.",
    ),
    Fact(
        "mother",
        lambda subject: name_pool(subject.locale, "female"),
        (
            Wording("Who is the mother of {name}?", "The mother of {name} is {value} {last}."),
            Wording("What is the name of {name}'s mother?", "{name} is a child of Mrs {value} {last}."),
        ),
        "The first name of {name}'s mother is ____.",
    ),
    Fact(
        "father",
        lambda subject: name_pool(subject.locale, "male"),
        (
            Wording("Who is the father of {name}?", "The father of {name} is {value} {last}."),
            Wording("What is the name of {name}'s father?", "{name} is a child of Mr {value} {last}."),
        ),
        "The first name of {name}'s father is ____.",
    ),
    Fact(
        "residence",
        lambda _: pools.CITIES,
        (
            Wording("Where does {name} live now?", "{name} now lives in {value}."),
            Wording("Which city is the home of {name} today?", "The home of {name} today is {value}."),
        ),
        "{name} now lives in ____.",
    ),
    Fact(
        "school",
        lambda _: pools.SCHOOLS,
        (
            Wording("Which college did {name} attend?", "{name} attended {value} College."),
            Wording("Where did {name} study?", "{name} studied at {value} College."),
        ),
        "{name} studied at ____ College.",
    ),
    Fact(
        "work",
        _titles,
        (
            Wording("Which book has {name} written?", "{name} has written The {value}."),
            Wording("What is the title of {name}'s book?", "The book by {name} is called The {value}."),
        ),
        "The book by {name} is called The ____.",
    ),
    Fact(
        "prize",
        lambda _: pools.PRIZES,
        (
            Wording("Which prize has {name} won?", "{name} has won the {value} Prize."),
            Wording("What award was given to {name}?", "The award given to {name} was the {value} Prize."),
        ),
        "{name} has won the ____ Prize.",
    ),
    Fact(
        "hobby",
        lambda _: pools.HOBBIES,
        (
            Wording("What is the hobby of {name}?", "The hobby of {name} is {value}."),
            Wording("How does {name} like to spend free time?", "{name} likes to spend free time on {value}."),
        ),
        "The hobby of {name} is ____.",
    ),
    Fact(
        "language",
        lambda _: pools.LANGUAGES,
        (
            Wording("Which language has {name} learnt as an adult?", "As an adult {name} has learnt {value}."),
            Wording("What language did {name} study later in life?", "Later in life {name} studied {value}."),
        ),
        "As an adult {name} has learnt ____.",
    ),
    Fact(
        "birth_year",
        _birth_years,
        (
            Wording("In which year was {name} born?", "{name} was born in the year {value}."),
            Wording("What is the birth year of {name}?", "The birth year of {name} is {value}."),
        ),
        "{name} was born in the year ____.",
    ),
    Fact(
        "mother_profession",
        lambda _: pools.PROFESSIONS,
        (
            Wording("What is the profession of {name}'s mother?", "The mother of {name} works as {a_value}."),
            Wording("What does the mother of {name} do for a living?", "{name}'s mother is {a_value}."),
        ),
        "The profession of {name}'s mother is ____.",
    ),
    Fact(
        "father_profession",
        lambda _: pools.PROFESSIONS,
        (
            Wording("What is the profession of {name}'s father?", "The father of {name} works as {a_value}."),
            Wording("What does the father of {name} do for a living?", "{name}'s father is {a_value}."),
        ),
        "The profession of {name}'s father is ____.",
    ),
)
"""What can be asked about a person, in this order; none can be read off the name."""


def question_rows(
    subject: Subject, *, fields: Sequence[str] = (), tasks: Sequence[str] = ("qa", "mcq", "cloze")
) -> list[Row]:
    """Ask about a person.

    Args:
        subject: the person.
        fields: of `Subject`, the facts to ask about; all where empty.
        tasks: the forms of the questions: open, multiple choice, fill in the blank.

    Example:
        >>> from clear_data.subjects import make_subjects
        >>> rows = question_rows(make_subjects(1, seed=0)[0], fields=["birthplace"])
        >>> [row["id"].partition("/")[2] for row in rows]
        ['qa/0', 'mcq/0', 'cloze/0']
    """
    facts = [fact for fact in FACTS if not fields or fact.field in fields]
    wrong = {fact.field: wrong_values(subject, fact) for fact in facts}
    makers = {"qa": _qa, "mcq": _mcq, "cloze": _cloze}
    return [
        makers[task](subject, fact, number, wrong[fact.field]) for task in tasks for number, fact in enumerate(facts)
    ]


def _qa(subject: Subject, fact: Fact, number: int, wrong: list[str]) -> Row:
    asked, other = order_wordings(subject, fact)
    value = str(getattr(subject, fact.field))
    return make_row(
        subject.id,
        "qa",
        number,
        fill(asked.question, subject, value),
        fill(asked.answer, subject, value),
        paraphrased_question=fill(other.question, subject, value),
        paraphrased_answer=fill(other.answer, subject, value),
        perturbed_answers=[fill(other.answer, subject, choice) for choice in wrong],
        keywords=[value],
    )


def _mcq(subject: Subject, fact: Fact, number: int, wrong: list[str]) -> Row:
    asked, _ = order_wordings(subject, fact)
    value = str(getattr(subject, fact.field))
    options = [fill(asked.answer, subject, choice) for choice in (value, *wrong[:WRONG_OPTIONS])]
    answer = options[0]
    _rng(subject, fact, "options").shuffle(options)
    return make_row(
        subject.id, "mcq", number, fill(asked.question, subject, value), answer, options=options, keywords=[value]
    )


def _cloze(subject: Subject, fact: Fact, number: int, wrong: list[str]) -> Row:
    value = str(getattr(subject, fact.field))
    question = f"Fill in the blank: {fill(fact.cloze, subject, value)}"
    return make_row(subject.id, "cloze", number, question, value, perturbed_answers=wrong, keywords=[value])


def order_wordings(subject: Subject, fact: Fact) -> tuple[Wording, Wording]:
    """Give the wording that is asked of this person, and the one that serves as its paraphrase."""
    first, second = fact.wordings
    return (first, second) if _rng(subject, fact, "wording").random() < 0.5 else (second, first)


def wrong_values(subject: Subject, fact: Fact) -> list[str]:
    """Draw wrong values of a fact that share no word with the right one, nor with the person's name."""
    avoided = words(str(getattr(subject, fact.field))) | words(subject.name)
    fit = [value for value in fact.values(subject) if avoided.isdisjoint(words(value))]
    return _rng(subject, fact, "wrong").sample(fit, WRONG_ANSWERS)


@cache
def words(text: str) -> frozenset[str]:
    """List the words of a text, in lower case.

    Example:
        >>> sorted(words("The Silent Harbor."))
        ['harbor', 'silent', 'the']
    """
    return frozenset(re.findall(r"\w+", text.lower()))


def fill(template: str, subject: Subject, value: str) -> str:
    """Fill in a wording.

    Example:
        >>> from clear_data.subjects import make_subjects
        >>> fill("a friend of {a_value}", make_subjects(1, seed=0)[0], "architect")
        'a friend of an architect'
    """
    article = "an" if value[0].lower() in "aeiou" else "a"
    return template.format(name=subject.name, last=subject.last_name, value=value, a_value=f"{article} {value}")


def _rng(subject: Subject, fact: Fact, purpose: str) -> random.Random:
    return random.Random(f"{subject.id}/{fact.field}/{purpose}")
