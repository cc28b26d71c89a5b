"""Forget and retain sets: nested, disjoint, and dependent on names and seed alone."""

from collections.abc import Collection, Iterable, Mapping
from hashlib import blake2b
from itertools import pairwise

PERCENTS = (1, 5, 10)


def rank(subjects: Iterable[str], *, seed: int) -> list[str]:
    """Put subjects into an order that depends on their names and the seed alone.

    Example:
        >>> rank("abc", seed=0) == rank("cab", seed=0)
        True
    """
    return sorted(set(subjects), key=lambda subject: blake2b(f"{seed}:{subject}".encode(), digest_size=16).digest())


def forget_retain_sets(subjects: Iterable[str], *, seed: int) -> dict[str, list[str]]:
    """Split subjects into forget01 ⊂ forget05 ⊂ forget10 and the retain set of each.

    Each forget set holds its percentage of the subjects, rounded, and at least one.

    Raises:
        ValueError: there are fewer than two subjects, so that one of the two sets would be empty.

    Example:
        >>> sets = forget_retain_sets((f"s{n}" for n in range(40)), seed=0)
        >>> {name: len(members) for name, members in sets.items()}
        {'forget01': 1, 'retain99': 39, 'forget05': 2, 'retain95': 38, 'forget10': 4, 'retain90': 36}
    """
    ranked = rank(subjects, seed=seed)
    if len(ranked) < 2:
        raise ValueError(f"a split needs at least 2 subjects, one to forget and one to retain, got {len(ranked)}.")
    sets = {}
    for percent in PERCENTS:
        cut = max(1, round(percent * len(ranked) / 100))
        sets[f"forget{percent:02}"] = sorted(ranked[:cut])
        sets[f"retain{100 - percent}"] = sorted(ranked[cut:])
    return sets


def validate_sets(sets: Mapping[str, Collection[str]], subjects: Collection[str]) -> None:
    """Check sets against the subjects that have rows.

    Raises:
        ValueError: a set is empty, names somebody twice or without rows, or overlaps what it must not.

    Example:
        >>> validate_sets({"forget10": ["a"], "retain90": ["a", "b"]}, {"a", "b"})
        Traceback (most recent call last):
        ValueError: sets forget10 and retain90 share the subject 'a'; nobody can be both forgotten and retained.
    """
    known = frozenset(subjects)
    for name, members in sets.items():
        _validate_members(name, members, known)
    for percent in PERCENTS:
        _validate_apart(
            sets, f"forget{percent:02}", f"retain{100 - percent}", "nobody can be both forgotten and retained"
        )
    for name in sets:
        if name != "holdout" and name.startswith(("forget", "retain")):
            _validate_apart(sets, name, "holdout", "holdout subjects are never trained on")
    forgets = [f"forget{percent:02}" for percent in PERCENTS if f"forget{percent:02}" in sets]
    for small, large in pairwise(forgets):
        outside = sorted(set(sets[small]) - set(sets[large]))
        if outside:
            raise ValueError(f"set {small} is not within {large}: {outside[0]!r} is missing there.")


def _validate_members(name: str, members: Collection[str], known: frozenset[str]) -> None:
    if not members:
        raise ValueError(f"set {name} is empty; leave it out or name its subjects.")
    if len(set(members)) < len(members):
        raise ValueError(f"set {name} names a subject twice.")
    unknown = sorted(set(members) - known)
    if unknown:
        raise ValueError(f"set {name} names {unknown[0]!r}, of whom there is no row ({len(unknown)} such in all).")


def _validate_apart(sets: Mapping[str, Collection[str]], one: str, other: str, why: str) -> None:
    shared = sorted(set(sets.get(one, ())) & set(sets.get(other, ())))
    if shared:
        raise ValueError(f"sets {one} and {other} share the subject {shared[0]!r}; {why}.")
