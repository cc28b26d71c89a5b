"""What every source of photographs offers: one method that draws, one that says what it is."""

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import TypeAlias

from PIL.Image import Image

GENDERS = ("female", "male")

Photographs: TypeAlias = tuple[str, list[Image]]


@dataclass(frozen=True, kw_only=True)
class FaceRequest:
    """Whose photographs are wanted: what a source needs to know of a subject.

    Attributes:
        subject: Unique id of the subject.
        name: Full name; text-to-image prompts use it.
        age: Age in years.
        gender: `"female"` or `"male"`.
        ethnicity: Named in prompts where it is given.

    Example:
        >>> FaceRequest(subject="s001", name="Ada Okafor", age=41, gender="female").age
        41
    """

    subject: str
    name: str
    age: int
    gender: str
    ethnicity: str | None = None

    def __post_init__(self) -> None:
        if self.gender not in GENDERS:
            raise ValueError(f"`gender` of {self.subject!r} must be one of {GENDERS}, got {self.gender!r}.")
        if self.age < 0:
            raise ValueError(f"`age` of {self.subject!r} must not be negative, got {self.age}.")


@dataclass(frozen=True, kw_only=True)
class Person:
    """Somebody whose face a source has: a portrait of a pool, a person of a folder.

    Attributes:
        id: The source's own name of the person.
        age: Age in years, None where it is not known.
        gender: `"female"` or `"male"`, None where it is not known.
    """

    id: str
    age: int | None = None
    gender: str | None = None


class FaceSource(ABC):
    """Where the photographs of the subjects come from.

    A photograph is determined by the source, the requests as a set, `count`, `seed`, the subject's id and the
    photograph's index: the order of the requests and what is already `done` change no byte of it, on one machine.
    """

    def persons(self) -> Sequence[Person] | None:
        """Whose faces there are, so that subjects can be made to fit them; None where there is no limit."""
        return None

    @abstractmethod
    def photographs(
        self, requests: Sequence[FaceRequest], count: int, *, seed: int, done: Collection[str] = ()
    ) -> Iterator[Photographs]:
        """Yield `(subject, images)`, one subject at a time, in the order of `requests`.

        Who gets which face is settled over all `requests` before the first image is drawn; so to resume, pass the
        same requests again and name in `done` the subjects that need no drawing.

        Args:
            requests: All subjects of the dataset. An id may occur once only.
            count: Photographs wanted of each subject, at least 1.
            seed: Any integer. Another seed gives other faces and other photographs.
            done: Ids of subjects to leave out of what is yielded.

        Yields:
            The subject's id and `count` RGB images.

        Raises:
            ValueError: The source cannot serve these requests; raised by the call itself, before anything is drawn.
        """

    @abstractmethod
    def describe(self) -> dict[str, object]:
        """What this source is, as JSON: equal descriptions draw equal photographs.

        Holds the hashes of the files behind it and the options that change what is drawn, so that it can enter a
        cache key and a dataset card.
        """


def check_requests(requests: Sequence[FaceRequest], count: int) -> None:
    """Refuse what no source can serve: no requests, a subject twice, no photographs."""
    if not requests:
        raise ValueError("`requests` is empty: at least one subject is needed.")
    if count < 1:
        raise ValueError(f"`count` must be at least 1, got {count}.")
    seen: set[str] = set()
    for request in requests:
        if request.subject in seen:
            raise ValueError(f"Subject {request.subject!r} occurs twice in `requests`; give each its own id.")
        seen.add(request.subject)


def derived_seed(*parts: object) -> int:
    """Give a seed below 2**63 that depends on every part and on nothing else.

    Example:
        >>> derived_seed(0, "s001", 3) == derived_seed(0, "s001", 3) != derived_seed(0, "s001", 4)
        True
    """
    text = "\x1f".join(str(part) for part in parts)
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest()) >> 1
