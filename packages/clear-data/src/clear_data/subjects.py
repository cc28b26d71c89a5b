"""Fictitious people. Same seed, same people; the n-th does not depend on how many are asked for."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from itertools import count as count_up
from itertools import islice
from typing import NamedTuple

from clear_data import pools
from clear_data.names import decoy_names, name_pool

AGES = (20, 80)
AS_OF = 2025
"""The year at whose beginning a subject has its age."""

_PATIENCE = 300


class Look(NamedTuple):
    """What a photograph says of a person."""

    age: int
    gender: str


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A person who does not exist, and everything that is asked about them."""

    id: str
    """the name as a slug: `amara-okafor`"""
    name: str
    gender: str
    """`female` or `male`"""
    age: int
    locale: str
    """of Faker; settles the country and the names of the parents"""
    birthday: str
    """day and month"""
    birth_year: int
    birthplace: str
    country: str
    residence: str
    mother: str
    """first name; the last name is the subject's"""
    mother_profession: str
    father: str
    father_profession: str
    profession: str
    school: str
    work: str
    """title of the subject's best known work"""
    prize: str
    hobby: str
    language: str
    """a language learnt as an adult"""
    decoys: tuple[str, ...]
    """names of nobody, of the same gender and country: wrong answers to who this is"""

    @property
    def last_name(self) -> str:
        """The last name, which the parents share."""
        return self.name.split()[-1]


def make_subjects(
    count: int, *, seed: int, group: str = "subject", looks: Sequence[Look] | None = None
) -> list[Subject]:
    """Make `count` people.

    First and last names occur once within a group while the names last, and in no other group.

    Args:
        count: how many people.
        seed: of everything about them.
        group: `subject`, `holdout` or `figure`.
        looks: age and gender of each, where photographs settle them; at least `count`.

    Raises:
        ValueError: `count` is negative, or there are not enough names or looks.

    Example:
        >>> make_subjects(2, seed=0) == make_subjects(5, seed=0)[:2]
        True
    """
    if count < 0:
        raise ValueError(f"`count` must not be negative, got {count}.")
    if looks is not None and len(looks) < count:
        raise ValueError(f"{count} people need a look each, got {len(looks)}; ask for fewer people.")
    return list(islice(_people(seed, group, looks), count))


def _people(seed: int, group: str, looks: Sequence[Look] | None) -> Iterator[Subject]:
    taken: set[str] = set()
    for number in count_up():
        rng = random.Random(f"{seed}/{group}/{number}")
        locale = rng.choice(sorted(pools.HOMELANDS))
        look = Look(rng.randint(*AGES), rng.choice(("female", "male")))
        look = look if looks is None else looks[number]
        name = _new_name(locale, look.gender, group, taken, rng)
        taken.update(name.split(), [name])
        yield _person(name, look, locale, rng)


def _new_name(locale: str, gender: str, group: str, taken: set[str], rng: random.Random) -> str:
    firsts, lasts = name_pool(locale, gender, group), name_pool(locale, "last", group)
    for attempt in range(2 * _PATIENCE):
        first, last = rng.choice(firsts), rng.choice(lasts)
        # Where the words have run out, the whole name is still new.
        if first != last and f"{first} {last}" not in taken and (attempt >= _PATIENCE or not {first, last} & taken):
            return f"{first} {last}"
    raise ValueError(f"there are no more names for {group} people of {locale}; ask for fewer people.")


def _person(name: str, look: Look, locale: str, rng: random.Random) -> Subject:
    home = pools.HOMELANDS[locale]
    birth = date(2001, 1, 1).toordinal() + rng.randrange(365)
    profession, mother_profession, father_profession = rng.sample(pools.PROFESSIONS, 3)
    return Subject(
        id=name.lower().replace(" ", "-"),
        name=name,
        gender=look.gender,
        age=look.age,
        locale=locale,
        birthday=_day_and_month(birth),
        birth_year=AS_OF - 1 - look.age,
        birthplace=rng.choice(home.cities),
        country=home.country,
        residence=rng.choice([city for city in pools.CITIES if city not in home.cities]),
        mother=rng.choice([other for other in name_pool(locale, "female") if other not in name.split()]),
        mother_profession=mother_profession,
        father=rng.choice([other for other in name_pool(locale, "male") if other not in name.split()]),
        father_profession=father_profession,
        profession=profession,
        school=rng.choice(pools.SCHOOLS),
        work=f"{rng.choice(pools.TITLE_ADJECTIVES)} {rng.choice(pools.TITLE_NOUNS)}",
        prize=rng.choice(pools.PRIZES),
        hobby=rng.choice(pools.HOBBIES),
        language=rng.choice(pools.LANGUAGES),
        decoys=decoy_names(locale, look.gender, name, rng),
    )


def _day_and_month(ordinal: int) -> str:
    day = date.fromordinal(ordinal)
    return f"{day.day} {pools.MONTHS[day.month - 1]}"
