"""From evidence on multiple choice to accuracies, and to what was forgotten and retained of them."""

import zlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from unlearn_metrics import Evidence

SAMPLES = 1000
MODALITIES = ("all", "text", "image")
Number = dict[str, float | int | None]
"""`value`, `low`, `high` and `n`, as in `results.json`"""


class Mark(NamedTuple):
    """One question and whether it was answered right."""

    set_name: str
    row: str
    subject: str
    modality: str
    right: float
    """1 or 0"""


def marks(evidence: "Evidence") -> list[Mark]:
    """Mark the answers: right where they begin with the letter of the right option, or where that is the likeliest.

    The likelihood of an option is that of its tokens on average.
    """
    from unlearn_metrics import row_metrics
    from unlearn_metrics.functional import mcq_letter_accuracy

    if len(evidence.generations):  # rows of task `mcq` are not generated
        table = evidence.generations.to_pydict()
        right = mcq_letter_accuracy(table["generated"], table["answer"])
    else:
        table = row_metrics(evidence).to_pydict()
        right = table["mcq_accuracy"]
    columns = (table[name] for name in ("set", "id", "subject", "modality"))
    return [Mark(*row) for row in zip(*columns, map(float, right), strict=True)]


def of_people(found: Iterable[Mark], people: Collection[str]) -> list[Mark]:
    """Return the marks of some subjects."""
    wanted = frozenset(people)
    return [mark for mark in found if mark.subject in wanted]


def of_set(found: Iterable[Mark], name: str) -> list[Mark]:
    """Return the marks of a set."""
    return [mark for mark in found if mark.set_name == name]


def of_modality(found: Iterable[Mark], modality: str) -> list[Mark]:
    """Return the marks of a modality, all of them where it is `all`."""
    return [mark for mark in found if modality in ("all", mark.modality)]


def accuracy(found: Sequence[Mark]) -> Number:
    """Return the share of right answers.

    Raises:
        ValueError: there are no answers.
    """
    return _ratio(found, [1.0] * len(found), 1.0)


def retained(before: Sequence[Mark], after: Sequence[Mark]) -> Number:
    """Return what is left of an accuracy, in percent of what there was: 100 · after / before.

    Raises:
        ValueError: the questions differ, there are none, or none was answered right before.
    """
    known = {mark.row: mark.right for mark in before}
    if len(known) != len(after) or any(mark.row not in known for mark in after):
        raise ValueError("the questions before and after differ, so they cannot be compared; ask the same of both.")
    return _ratio(after, [known[mark.row] for mark in after], 100.0)


def forgotten(before: Sequence[Mark], after: Sequence[Mark]) -> Number:
    """Return what is gone of an accuracy, in percent of what there was: 100 · (1 - after / before).

    Raises:
        ValueError: see `retained`.
    """
    left = retained(before, after)
    gone = {name: None if found is None else 100.0 - found for name, found in left.items()}
    return {"value": gone["value"], "low": gone["high"], "high": gone["low"], "n": left["n"]}


def best_known(found: Sequence[Mark]) -> list[str]:
    """Return the subjects in the order of their accuracy, the best known first; equals in the order of their names."""
    right: dict[str, list[float]] = {}
    for mark in found:
        right.setdefault(mark.subject, []).append(mark.right)
    return sorted(right, key=lambda subject: (-sum(right[subject]) / len(right[subject]), subject))


def by_modality(found: Sequence[Mark]) -> dict[str, dict[str, Number]]:
    """Return the accuracy of each modality that there are questions of, and of all, as `results.json` has them."""
    parts = {modality: of_modality(found, modality) for modality in MODALITIES}
    return {modality: {"mcq_accuracy": accuracy(part)} for modality, part in parts.items() if part}


def compare(name: str, before: Sequence[Mark], after: Sequence[Mark]) -> tuple[dict[str, Number], dict[str, str]]:
    """Compare a set before and after, in all and by modality.

    Args:
        name: `forgotten`, `retained` or `general`.
        before: marks of the model that was unlearned.
        after: marks of what came of it.

    Returns:
        The percentages by name, such as `forgotten_pct` and `forgotten_pct_text`, and why others are not there.
    """
    measure = forgotten if name == "forgotten" else retained
    numbers: dict[str, Number] = {}
    missing: dict[str, str] = {}
    for modality in MODALITIES:
        title = f"{name}_pct" + ("" if modality == "all" else f"_{modality}")
        old, new = of_modality(before, modality), of_modality(after, modality)
        if not new:
            missing[title] = "no question is asked in this modality"
        elif not any(mark.right for mark in old):
            missing[title] = "no question was answered right before, so that there is nothing to compare with"
        else:
            numbers[title] = measure(old, new)
    return numbers, missing


def _ratio(found: Sequence[Mark], divisors: Sequence[float], scale: float) -> Number:
    """The sum of the marks over that of the divisors, with an interval over resamples of the subjects."""
    if not sum(divisors) > 0:
        raise ValueError("there is no question to measure, or none was answered right before; ask some that were.")
    names = sorted({mark.subject for mark in found})
    place = {name: number for number, name in enumerate(names)}
    sums = np.zeros((2, len(names)))
    for mark, divisor in zip(found, divisors, strict=True):
        sums[:, place[mark.subject]] += mark.right, divisor
    low, high = _interval(sums, seed=zlib.crc32("".join(names).encode()))
    value = float(sums[0].sum() / sums[1].sum())
    return {
        "value": scale * value,
        "low": None if low is None else scale * min(low, value),
        "high": None if high is None else scale * max(high, value),
        "n": len(found),
    }


def _interval(sums: "np.ndarray[Any, Any]", *, seed: int) -> tuple[float | None, float | None]:
    subjects = sums.shape[1]
    if subjects < 2:
        return None, None
    counts = np.random.default_rng(seed).multinomial(subjects, [1 / subjects] * subjects, size=SAMPLES)
    right, divisor = counts @ sums[0], counts @ sums[1]
    low, high = np.percentile(right[divisor > 0] / divisor[divisor > 0], (2.5, 97.5))
    return float(low), float(high)


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Lay the table of the protocol out as text, one line a model."""
    names, kinds = ("setting", "method", "parts", "request"), ("forgotten", "retained", "general")
    lines = [[*names, *(f"{kind} %" for kind in kinds)]]
    lines += [[*(str(row[name]) for name in names), *(_shown(row[kind]) for kind in kinds)] for row in rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    padded = ((cell.ljust(width) for cell, width in zip(line, widths, strict=True)) for line in lines)
    return "\n".join("  ".join(line).rstrip() for line in padded)


def _shown(cells: Mapping[str, Any]) -> str:
    found = cells.get("all")
    return "–" if found is None else f"{found['value']:.0f}"
