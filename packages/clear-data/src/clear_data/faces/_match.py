"""Who gets which face: the gender equal, the age near, no face twice, whatever the order of the rows."""

from collections import Counter
from collections.abc import Sequence

from clear_data.faces._base import FaceRequest, Person, derived_seed

AGE_TOLERANCE = 2
"""Ages this near count as equal, in years: ages of photographs are estimates, and seeds shall have a choice."""


def match(requests: Sequence[FaceRequest], persons: Sequence[Person], *, seed: int, source: str) -> dict[str, str]:
    """Give each subject a person of its gender and nearest to its age.

    Subjects choose one after the other, in an order drawn from `seed` and their ids.

    Args:
        requests: All subjects.
        persons: The faces there are. Where no age and gender is known of any, subjects and persons are paired in
            the order of their ids.
        seed: Draws the order of choice, and the choice among equals.
        source: What the persons are, for messages: `"the portrait pool"`.

    Returns:
        Subject id to person id.

    Example:
        >>> ada = FaceRequest(subject="s1", name="Ada", age=40, gender="female")
        >>> match([ada], [Person(id="a", age=41, gender="male"), Person(id="b", age=70, gender="female")],
        ...       seed=0, source="the pool")
        {'s1': 'b'}
    """
    if all(person.gender is None for person in persons):
        return _pair_in_order(requests, persons, source)
    _check_genders(requests, persons, source)
    free = sorted(persons, key=lambda person: person.id)
    chosen: dict[str, str] = {}
    for request in sorted(requests, key=lambda request: derived_seed(seed, "turn", request.subject)):
        fit = min(
            (person for person in free if person.gender == request.gender),
            key=lambda person: (_gap(request, person), derived_seed(seed, request.subject, person.id)),
        )
        free.remove(fit)
        chosen[request.subject] = fit.id
    return chosen


def _gap(request: FaceRequest, person: Person) -> int:
    return 0 if person.age is None else max(AGE_TOLERANCE, abs(person.age - request.age))


def _pair_in_order(requests: Sequence[FaceRequest], persons: Sequence[Person], source: str) -> dict[str, str]:
    if len(persons) < len(requests):
        raise ValueError(f"{len(requests)} subjects need a face, {source} has {len(persons)}. {_ADVICE}")
    subjects = sorted(request.subject for request in requests)
    return dict(zip(subjects, sorted(person.id for person in persons), strict=False))


_ADVICE = "Ask for fewer subjects, or name a larger one."


def _check_genders(requests: Sequence[FaceRequest], persons: Sequence[Person], source: str) -> None:
    needed = Counter(request.gender for request in requests)
    there = Counter(person.gender for person in persons)
    short = [f"{needed[g]} {g} subjects need a face, {source} has {there[g]}" for g in needed if there[g] < needed[g]]
    if short:
        raise ValueError(f"{'; '.join(sorted(short))}. {_ADVICE}")
