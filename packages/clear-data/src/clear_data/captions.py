"""Rows about a photograph of a person: who it shows, and what is known about whom it shows."""

import random
from collections.abc import Sequence

from clear_data.questions import FACTS, Wording, fill, wrong_values
from clear_data.schema import Row, make_row
from clear_data.subjects import Subject

CAPTIONS = (
    Wording("What can you see in this picture?", "{value} is in this picture."),
    Wording("What does this photograph show?", "The photograph shows {value}."),
    Wording("Describe what is in the image.", "The image is a portrait of {value}."),
    Wording("Give a caption for this picture.", "{value} is looking at the camera."),
    Wording("Can you tell me about this photograph?", "It is a photograph of {value}."),
    Wording("What is going on in the image?", "{value} has been photographed here."),
    Wording("Please describe this picture.", "This is a picture of {value}."),
    Wording("What do you notice in this photograph?", "One can see the face of {value}."),
    Wording("Explain what the image shows.", "Here we meet {value}."),
)
"""The question settles the wording of the caption, so that a caption's probability tells of the name alone."""

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
    """Ask about each photograph of a person: for a caption, and for the name or a fact in turn.

    Captions vary in their wording with the question; their keywords are the name alone.

    Args:
        subject: the person.
        images: the photographs, encoded.

    Example:
        >>> from clear_data.subjects import make_subjects
        >>> rows = photograph_rows(make_subjects(1, seed=0)[0], [b"..."])
        >>> [row["id"].partition("/")[2] for row in rows]
        ['caption/0', 'vqa/0']
    """
    rows: list[Row] = []
    for number, image in enumerate(images):
        rows.append(_caption(subject, number, image))
        rows.append(_naming(subject, number, image) if number % 2 == 0 else _fact(subject, number, image))
    return rows


def _caption(subject: Subject, number: int, image: bytes) -> Row:
    rng = random.Random(f"{subject.id}/caption/{number}")
    asked, other = rng.sample(CAPTIONS, 2)
    return _row(subject, "caption", number, image, asked, other, subject.name, subject.decoys)


def _naming(subject: Subject, number: int, image: bytes) -> Row:
    asked, other = _turn(NAMINGS, number // 2)
    return _row(subject, "vqa", number, image, asked, other, subject.name, subject.decoys)


def _fact(subject: Subject, number: int, image: bytes) -> Row:
    field = tuple(ASKED_OF_FACE)[number // 2 % len(ASKED_OF_FACE)]
    asked, other = _turn(ASKED_OF_FACE[field], number // 2 // len(ASKED_OF_FACE))
    fact = next(fact for fact in FACTS if fact.field == field)
    value = str(getattr(subject, field))
    return _row(subject, "vqa", number, image, asked, other, value, wrong_values(subject, fact))


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
