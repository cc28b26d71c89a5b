"""Names of people: Faker's, true to their country, folded to plain Latin letters.

Names are shared out between groups of people by a hash of the name, so that two groups never have a name in common and
yet each can be drawn without knowing the other.
"""

import random
import re
import unicodedata
from collections.abc import Sequence
from functools import cache
from hashlib import blake2b
from importlib import import_module

# Sixteenths of all names that each group may use.
_SHARES = {"subject": range(8), "holdout": range(8, 10), "figure": range(10, 12), "decoy": range(12, 16)}
_FOLD = str.maketrans(
    {
        "ø": "o",
        "Ø": "O",
        "ł": "l",
        "Ł": "L",
        "đ": "d",
        "Đ": "D",
        "\N{LATIN SMALL LETTER DOTLESS I}": "i",
        "ß": "ss",
        "æ": "ae",
        "Æ": "Ae",
    }
)
_PLAIN = re.compile(r"[A-Z][a-z]{2,9}")


def fold(text: str) -> str:
    """Write Latin letters without their accents.

    Example:
        >>> fold("Søren Gülçin Łukasz")
        'Soren Gulcin Lukasz'
    """
    letters = unicodedata.normalize("NFKD", text.translate(_FOLD))
    return "".join(letter for letter in letters if not unicodedata.combining(letter))


@cache
def name_pool(locale: str, kind: str, group: str | None = None) -> tuple[str, ...]:
    """List the names of a locale, in alphabetical order.

    Args:
        locale: of Faker, such as `yo_NG`.
        kind: `female` or `male` for first names, `last` for last names.
        group: `subject`, `holdout`, `figure` or `decoy`, whose names differ from the others'; all where None.

    Example:
        >>> "Adekunle" in name_pool("yo_NG", "last")
        True
        >>> set(name_pool("fr_FR", "female", "subject")) & set(name_pool("fr_FR", "female", "holdout"))
        set()
    """
    # The lists alone: Faker's own drawing loads every provider of a locale, which takes seconds for twenty of them.
    provider = import_module(f"faker.providers.person.{locale}").Provider
    listed = getattr(provider, "last_names" if kind == "last" else f"first_names_{kind}")
    names = sorted({name for name in map(fold, listed) if _PLAIN.fullmatch(name)})
    return tuple(name for name in names if group is None or _share(name) in _SHARES[group])


def _share(name: str) -> int:
    return blake2b(name.lower().encode(), digest_size=1).digest()[0] % 16


def decoy_names(locale: str, gender: str, name: str, rng: random.Random, *, count: int = 5) -> tuple[str, ...]:
    """Draw full names that somebody of that locale and gender might have, none like `name`."""
    firsts = _unlike(name_pool(locale, gender, "decoy"), name, rng, count)
    lasts = _unlike(name_pool(locale, "last", "decoy"), name, rng, count)
    return tuple(f"{first} {last}" for first, last in zip(firsts, lasts, strict=True))


def _unlike(pool: Sequence[str], name: str, rng: random.Random, count: int) -> list[str]:
    words = name.lower().split()
    fit = [other for other in pool if not any(other.lower() in word or word in other.lower() for word in words)]
    return rng.sample(fit, count)
