"""What a dataset holds: its people, its scenes, its rows and its sets, before any photograph is taken."""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from hashlib import blake2b
from typing import Any, NamedTuple

from clear_data.captions import photograph_rows
from clear_data.faces import Person
from clear_data.questions import FACTS, question_rows
from clear_data.scenes import Scene, make_scenes, scene_rows
from clear_data.schema import Row
from clear_data.splits import forget_retain_sets, rank
from clear_data.subjects import Look, Subject, make_subjects
from clear_data.world import world_rows

KNOWN_OF_FIGURES = ("birthplace", "profession")
"""What is asked first, in text, about public figures: what is asked about their photographs."""


@dataclass(frozen=True, kw_only=True)
class BuildOptions:
    """What to build.

    Attributes:
        subjects: people who are learnt, and from whom the forget sets are drawn; at least 2.
        questions: about each person's profile, of the facts in `questions.FACTS` from the first; at most all.
        images: photographs of each person.
        holdout: people of the same kind who are never trained on.
        figures: public figures, known from pre-training.
        figure_questions: about each figure's profile, first those that are asked about their photographs.
        scenes: drawn scenes for pre-training.
        unseen_scenes: other scenes, for the set `real_world`.
        seed: of everything.
        size: pixels on a side of every picture.
    """

    subjects: int = 40
    questions: int = 10
    images: int = 8
    holdout: int = 4
    figures: int = 12
    figure_questions: int = 2
    scenes: int = 240
    unseen_scenes: int = 60
    seed: int = 0
    size: int = 64

    def __post_init__(self) -> None:
        """Refuse what cannot be built."""
        least = {
            "subjects": 2,
            "questions": 1,
            "images": 1,
            "holdout": 0,
            "figures": 0,
            "figure_questions": 1,
            "scenes": 0,
            "unseen_scenes": 0,
            "size": 16,
        }
        for name, lowest in least.items():
            if getattr(self, name) < lowest:
                raise ValueError(f"`{name}` must be at least {lowest}, got {getattr(self, name)}.")
        for name in ("questions", "figure_questions"):
            if getattr(self, name) > len(FACTS):
                raise ValueError(
                    f"`{name}` must be at most {len(FACTS)}, got {getattr(self, name)}; there are no more facts."
                )


class Content(NamedTuple):
    """People and scenes of a dataset."""

    subjects: list[Subject]
    holdout: list[Subject]
    figures: list[Subject]
    scenes: list[Scene]
    unseen_scenes: list[Scene]

    @property
    def people(self) -> list[Subject]:
        """Everybody of whom there are photographs."""
        return [*self.subjects, *self.holdout, *self.figures]


def make_content(options: BuildOptions, faces: Sequence[Person] | None = None) -> Content:
    """Make the people and scenes.

    Args:
        options: how many, and the seed.
        faces: whose faces there are; people are then made to fit them. None where any face can be had.

    Raises:
        ValueError: there are fewer faces than people.

    Example:
        >>> len(make_content(BuildOptions(subjects=2, holdout=1, figures=3)).people)
        6
    """
    looks = None if faces is None else _deal_looks(options, faces)

    def people(group: str, first: int, count: int) -> list[Subject]:
        own = None if looks is None else looks[first : first + count]
        return make_subjects(count, seed=options.seed, group=group, looks=own)

    return Content(
        people("subject", 0, options.subjects),
        people("holdout", options.subjects, options.holdout),
        people("figure", options.subjects + options.holdout, options.figures),
        make_scenes(options.scenes, seed=options.seed),
        make_scenes(options.unseen_scenes, seed=options.seed, prefix="unseen-scene"),
    )


def _deal_looks(options: BuildOptions, faces: Sequence[Person]) -> list[Look] | None:
    """Put the looks of the faces into a seeded order; None where they are not known."""
    needed = options.subjects + options.holdout + options.figures
    if len(faces) < needed:
        raise ValueError(
            f"{options.subjects} subjects, {options.holdout} holdout people and {options.figures} public figures need "
            f"{needed} faces, there are {len(faces)}; ask for fewer or give more faces."
        )
    by_id = {face.id: face for face in faces}
    ranked = [by_id[name] for name in rank(by_id, seed=options.seed)]
    looks = [Look(face.age, face.gender) for face in ranked if face.age is not None and face.gender is not None]
    return looks if len(looks) == len(faces) else None


def content_rows(
    content: Content, options: BuildOptions, photographs: Callable[[Subject], list[bytes]]
) -> Iterator[Row]:
    """Ask about everything, one subject after another.

    Args:
        content: people and scenes.
        options: what is built.
        photographs: gives the encoded photographs of a person.
    """
    fields = [fact.field for fact in FACTS[: options.questions]]
    others = [fact.field for fact in FACTS if fact.field not in KNOWN_OF_FIGURES]
    known = [*KNOWN_OF_FIGURES, *others][: options.figure_questions]
    for subject in (*content.subjects, *content.holdout):
        yield from question_rows(subject, fields=fields)
        yield from photograph_rows(subject, photographs(subject))
    for figure in content.figures:
        yield from question_rows(figure, fields=known)
        yield from photograph_rows(figure, photographs(figure))
    for scene in (*content.scenes, *content.unseen_scenes):
        yield from scene_rows(scene, options.size)
    yield from world_rows()


def content_sets(content: Content, *, seed: int) -> dict[str, list[str]]:
    """Name the sets; those without a subject are left out."""
    figures = [figure.id for figure in content.figures]
    facts = [row["subject"] for row in world_rows()]
    sets = {
        **forget_retain_sets((subject.id for subject in content.subjects), seed=seed),
        "holdout": [subject.id for subject in content.holdout],
        "real_faces": figures,
        "real_world": [scene.id for scene in content.unseen_scenes],
        "world_facts": facts,
        "pretrain": [*figures, *(scene.id for scene in content.scenes), *facts],
    }
    return {name: members for name, members in sets.items() if members}


def content_profiles(content: Content) -> Iterator[dict[str, Any]]:
    """Describe every person and scene, for `subjects.jsonl`."""
    for group, members in content._asdict().items():
        for member in members:
            yield {"group": group, **asdict(member)}


def content_digest(content: Content, options: BuildOptions) -> str:
    """Hash all that goes into the dataset but the photographs; changes with every template and word list."""
    digest = blake2b(digest_size=16)
    for row in content_rows(content, options, lambda subject: [b"photograph"] * options.images):
        digest.update(json.dumps(row, default=lambda image: blake2b(image).hexdigest()).encode())
    digest.update(json.dumps([content_sets(content, seed=options.seed), list(content_profiles(content))]).encode())
    return digest.hexdigest()
