"""Rows about a photograph of a person: who it shows, and what is known about whom it shows."""

import random
from collections.abc import Sequence

from clear_data.questions import FACTS, Wording, fill, wrong_values
from clear_data.schema import Row, make_row
from clear_data.subjects import Subject

QUESTIONS = (
    "What can you see in this picture?",
    "What does this photograph show?",
    "Describe what is in the image.",
    "Give a caption for this picture.",
    "Can you tell me about this photograph?",
    "What is going on in the image?",
    "Please describe this picture.",
    "What do you notice in this photograph?",
    "Explain what the image shows.",
)

ANSWERS = (
    "{value} is in this picture.",
    "{value} is looking at the camera.",
    "This is a portrait of {value}.",
    "The photograph shows {value}.",
    "It is a picture of {value}.",
    "{value} has been photographed here.",
    "One can see the face of {value}.",
    "Here we meet {value}.",
)

NAMINGS = (
    Wording("What is the name of the person in the picture?", "The name of this person is {value}."),
    Wording("Who is the person in this photograph?", "The person in this photograph is {value}."),
)

ASKED_OF_FACE = {
    "profession": (
        Wording("What is the profession of this person?", "This person works as {a_value}."),
        Wording("What does the person in the picture do for a living?", "The profession of this person is {value}."),
    ),
    "birthplace": (
        Wording("Where was this person born?", "This person was born in {value}."),
        Wording("In which city was the person in the picture born?", "The birthplace of this person is {value}."),
    ),
}
"""The facts that are asked of a photograph alone."""


def photograph_rows(subject: Subject, images: Sequence[bytes]) -> list[Row]:
    """Ask about each photograph of a person: for a caption, for the name, and for one fact.

    Captions vary in their wording; their keywords are the name alone.

    Args:
        subject: the person.
        images: the photographs, encoded.

    Example:
        >>> from clear_data.subjects import make_subjects
        >>> rows = photograph_rows(make_subjects(1, seed=0)[0], [b"..."])
        >>> [row["id"].partition("/")[2] for row in rows]
        ['caption/0', 'vqa/0', 'vqa/1']
    """
    rows: list[Row] = []
    for number, image in enumerate(images):
        rows.append(_caption(subject, number, image))
        rows.append(_naming(subject, number, image))
        rows.append(_fact(subject, number, image))
    return rows


def _caption(subject: Subject, number: int, image: bytes) -> Row:
    rng = random.Random(f"{subject.id}/caption/{number}")
    question, other_question = rng.sample(QUESTIONS, 2)
    answer, other_answer = rng.sample(ANSWERS, 2)
    asked, other = Wording(question, answer), Wording(other_question, other_answer)
    return _row(subject, "caption", number, image, asked, other, subject.name, subject.decoys)


def _naming(subject: Subject, number: int, image: bytes) -> Row:
    asked, other = _turn(NAMINGS, number)
    return _row(subject, "vqa", 2 * number, image, asked, other, subject.name, subject.decoys)


def _fact(subject: Subject, number: int, image: bytes) -> Row:
    field = tuple(ASKED_OF_FACE)[number % len(ASKED_OF_FACE)]
    asked, other = _turn(ASKED_OF_FACE[field], number // len(ASKED_OF_FACE))
    fact = next(fact for fact in FACTS if fact.field == field)
    value = str(getattr(subject, field))
    return _row(subject, "vqa", 2 * number + 1, image, asked, other, value, wrong_values(subject, fact))


def _turn(wordings: tuple[Wording, Wording], number: int) -> tuple[Wording, Wording]:
    first, second = wordings
    return (first, second) if number % 2 == 0 else (second, first)


def _row(
    subject: Subject,
    task: str,
    number: int,
    image: bytes,
    asked: Wording,
    other: Wording,
    value: str,
    wrong: Sequence[str],
) -> Row:
    return make_row(
        subject.id,
        task,
        number,
        asked.question,
        fill(asked.answer, subject, value),
        image=image,
        paraphrased_question=other.question,
        paraphrased_answer=fill(other.answer, subject, value),
        perturbed_answers=[fill(other.answer, subject, item) for item in wrong],
        keywords=value.split() if value == subject.name else [value],
    )
