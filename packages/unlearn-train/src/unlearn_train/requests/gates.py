"""Gates: plain comparisons that the numbers of a new model must pass before it is promoted."""

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

Numbers = Mapping[str, Any]
"""what `numbers.json` of a state holds, see `measuring.numbers_of`"""

_NUMBER = r"[-+]?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?"
_GATE = re.compile(r"\s*([\w-]+(?:\.[\w-]+)+)\s*(<=|>=)\s*(\S.*?)\s*")
_BOUND = re.compile(rf"(?:({_NUMBER})\s*\*\s*)?(start|holdout)(?:\s*([-+]\s*\d+(?:\.\d+)?))?")
GROUPS = ("forget", "earlier", "real")
"""names that stand for sets: this request's, every earlier one's, and all real sets"""


@dataclass(frozen=True)
class Gate:
    """A number, a comparison and a bound."""

    text: str
    path: tuple[str, ...]
    """set, modality and metric; or `membership` or `summary` and a name"""
    sign: Literal["<=", ">="]
    factor: float
    reference: Literal["start", "holdout"] | None
    """what `factor` is multiplied with: the same number of the first state, or of the held-out subjects"""
    offset: float

    @classmethod
    def parse(cls, text: str) -> "Gate":
        """Read a gate.

        Example:
            >>> Gate.parse("forget.all.keyword_accuracy <= holdout + 0.1").offset
            0.1
            >>> Gate.parse("retain.all.rouge_l_recall>=0.8*start").factor
            0.8

        Raises:
            ValueError: it is of another form, or its bound is not finite.
        """
        found = _GATE.fullmatch(text)
        path = tuple(found[1].split(".")) if found else ()
        bound = _bound(found[3]) if found else None
        if found is None or bound is None or len(path) != (2 if path[0] in ("membership", "summary") else 3):
            raise ValueError(
                f"the gate {text!r} cannot be read; one is written as SET.MODALITY.METRIC<=BOUND, such as "
                "forget.all.keyword_accuracy<=holdout+0.1, retain.all.rouge_l_recall>=0.8*start or "
                "membership.loss_auc<=0.7."
            )
        if not (math.isfinite(bound[0]) and math.isfinite(bound[2])):
            raise ValueError(f"the bound of the gate {text!r} must be finite, so that it can decide anything.")
        return cls(text, path, found[2], *bound)  # type: ignore[arg-type]  # the expression knows two signs alone


class Verdict(NamedTuple):
    """What a gate says of a model."""

    gate: str
    holds: bool
    value: float | None
    """None where there is no such number"""
    bound: float | None
    note: str = ""
    """which of several sets the number is of, or why there is none"""

    def plain(self) -> dict[str, Any]:
        """Return it as JSON takes it."""
        return self._asdict()


def check(gate: Gate, numbers: Numbers, request: int) -> Verdict:
    """Compare a model's numbers with a gate.

    A number that is not there holds nothing: the model then waits for a person. Where a gate speaks of several sets, it
    is the worst of them that counts.

    Args:
        gate: to be passed.
        numbers: of the model.
        request: that the model was made for.
    """
    compared = [_compare(gate, numbers, where) for where in _places(gate, numbers, request)]
    if gate.path[0] == "real":  # real sets differ in what can be asked of them
        compared = [verdict for verdict in compared if verdict.value is not None]
    if not compared:
        first = gate.path[0] == "earlier"
        why = "there is no earlier request" if first else "the data has none of these sets, or they lack the metric"
        return Verdict(gate.text, first, None, None, why)
    return min(compared, key=lambda verdict: _room(gate, verdict))


def default_gates(*, has_holdout: bool, has_real: bool, metric: str = "rouge_l_recall") -> tuple[str, ...]:
    """Return gates that need no retrained model.

    What a model that never met the subjects would say is not known without one. Held-out subjects, whom no model
    learnt, stand in for it: forgotten ones should look like them. Without those, half of what was known at first is the
    bound.
    What is kept is compared with the first state and not with the one before, so that small losses cannot add up.
    Membership is measured and shown, but no gate by default: of the rows of one request its area is coarse, and most
    methods leave more of a trace than a person who reads their answers would see.

    Args:
        has_holdout: whether the data has a set `holdout`.
        has_real: whether it has a real set.
        metric: of forgetting: `keyword_accuracy` where rows have keywords, else `rouge_l_recall`.

    Example:
        >>> default_gates(has_holdout=False, has_real=False)[0]
        'forget.all.rouge_l_recall<=0.5*start'
    """
    bound = "holdout+0.1" if has_holdout else "0.5*start"
    gates = [f"forget.all.{metric}<={bound}", f"earlier.all.{metric}<={bound}"]
    gates += ["retain.all.rouge_l_recall>=0.8*start"]
    gates += ["real.all.rouge_l_recall>=0.8*start"] if has_real else []
    return tuple(gates)


def _bound(text: str) -> tuple[float, Literal["start", "holdout"] | None, float] | None:
    if re.fullmatch(_NUMBER, text):
        return 0.0, None, float(text)
    found = _BOUND.fullmatch(text)
    if found is None:
        return None
    factor, reference, offset = found.groups()
    return float(factor or 1), reference, float((offset or "0").replace(" ", ""))  # type: ignore[return-value]


def _places(gate: Gate, numbers: Numbers, request: int) -> Iterator[tuple[str, ...]]:
    """The numbers that a gate speaks of, as paths into those of the model."""
    first, *rest = gate.path
    if first in ("membership", "summary"):
        yield gate.path
    elif first in GROUPS:
        wanted = {"forget": [f"forget_{request}"], "earlier": numbers["earlier"], "real": numbers["real"]}[first]
        for name in wanted:
            yield "sets", name, *rest
    else:
        yield "sets", first, *rest


def _compare(gate: Gate, numbers: Numbers, where: tuple[str, ...]) -> Verdict:
    value, bound = _value(numbers, where), gate.offset
    name = where[1] if gate.path[0] in ("earlier", "real") else ""
    if gate.reference is not None:
        other = ("start", *where[1:]) if gate.reference == "start" else ("sets", "holdout", *where[2:])
        reference = _value(numbers, other)
        if reference is None or where[0] != "sets":
            return Verdict(gate.text, False, value, None, f"{name} has no {gate.reference} to compare with".strip())
        bound += gate.factor * reference
    if value is None:
        return Verdict(gate.text, False, None, bound, f"there is no {'.'.join(where)}")
    holds = value <= bound if gate.sign == "<=" else value >= bound
    return Verdict(gate.text, holds, value, bound, name)


def _value(numbers: Numbers, where: tuple[str, ...]) -> float | None:
    found: Any = numbers
    for key in where:
        found = found.get(key) if isinstance(found, Mapping) else None
    return float(found["value"]) if isinstance(found, Mapping) else None


def _room(gate: Gate, verdict: Verdict) -> float:
    """How far the number is from the bound, on the side where it should be; what is not there comes first."""
    if verdict.value is None or verdict.bound is None:
        return float("-inf")
    return verdict.bound - verdict.value if gate.sign == "<=" else verdict.value - verdict.bound
