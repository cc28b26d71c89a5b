"""Who is forgotten, and who is kept, in each setting."""

from collections.abc import Iterable, Mapping, Sequence
from hashlib import blake2b
from typing import NamedTuple

from unlearn_train.pulse.settings import PulseOptions

FIGURES = "real_faces"
"""the set of the people who are known from pretraining"""


class Sides(NamedTuple):
    """The people of a setting."""

    forget: tuple[str, ...]
    retain: tuple[str, ...]

    @property
    def everybody(self) -> tuple[str, ...]:
        """Those to be forgotten, then those to be kept."""
        return self.forget + self.retain

    def request(self, number: int, requests: int) -> tuple[str, ...]:
        """Return who is forgotten in one of several requests, counted from 1; their sizes differ by one at most."""
        return self.forget[_cut(self, number - 1, requests) : _cut(self, number, requests)]

    def so_far(self, number: int, requests: int) -> tuple[str, ...]:
        """Return who has been forgotten after one of several requests."""
        return self.forget[: _cut(self, number, requests)]


def finetuned(sets: Mapping[str, Sequence[str]], options: PulseOptions, *, seed: int) -> Sides:
    """Choose among the people of the forget and retain sets; depends on names and seed alone.

    Raises:
        ValueError: there are fewer people than are asked for.
    """
    names = {
        name for title, members in sets.items() if title.startswith(("forget", "retain", "people")) for name in members
    }
    return _sides(ranked(names, seed=seed), options.finetuned, options.finetuned_forget, "finetuned")


def pretrained(best_known: Sequence[str], options: PulseOptions, *, seed: int) -> Sides:
    """Choose among public figures.

    Args:
        best_known: from the best known on; no more than the first `options.pretrained` count.
        options: how many.
        seed: of the choice.

    Raises:
        ValueError: there are fewer people than are asked for.
    """
    names = ranked(best_known[: options.pretrained], seed=seed)
    return _sides(names, options.pretrained, options.pretrained_forget, "pretrained")


def ranked(names: Iterable[str], *, seed: int) -> list[str]:
    """Put names into an order that depends on them and the seed alone."""
    return sorted(set(names), key=lambda name: blake2b(f"{seed}:{name}".encode(), digest_size=16).digest())


def _sides(names: Sequence[str], count: int, forget: int, title: str) -> Sides:
    if len(names) < count:
        fewer = f"ask for fewer (`--set pulse.{title}={len(names)}`), or " if len(names) > 1 else ""
        raise ValueError(f"`pulse.{title}` asks for {count} people, the data has {len(names)}; {fewer}give other data.")
    return Sides(tuple(names[:forget]), tuple(names[forget:count]))


def _cut(sides: Sides, number: int, requests: int) -> int:
    return round(number * len(sides.forget) / requests)
