"""Tables of a ledger for a terminal."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from unlearn_train.requests.ledger import Ledger, Request, State, Status

ABSENT = "–"
TITLES = {"probability": "prob", "rouge_l_recall": "ROUGE", "keyword_accuracy": "keywords", "mcq_accuracy": "choice"}
"""the metrics that are shown, and their titles"""


class Line(NamedTuple):
    """What is shown of a subject who was forgotten, or of another set."""

    request: str
    who: str
    values: Mapping[str, tuple[float | None, float | None]]
    """at the start and now, by metric"""


def status_table(ledger: Ledger) -> str:
    """Every request and how far it has come."""
    rows = [
        [str(each.number), each.status, state_of(each), each.date, names(each.subjects), each.reason]
        for _, each in sorted(ledger.requests.items())
    ]
    return table(["request", "status", "state", "date", "subjects", "reason"], rows)


def numbers_table(numbers: Mapping[str, Any]) -> str:
    """Everybody who was forgotten and every other set, each number at the start and now."""
    header, rows = number_cells(numbers)
    return table(header, rows)


def number_cells(numbers: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    """The titles and cells of `numbers_table`."""
    lines = number_lines(numbers)
    known = [name for name in TITLES if any(name in line.values for line in lines)]
    titles = ["request", "who", *(f"{TITLES[name]} {when}" for name in known for when in ("start", "now"))]
    absent = (None, None)
    cells = [
        [line.request, line.who, *(shown(value) for name in known for value in line.values.get(name, absent))]
        for line in lines
    ]
    return titles, cells


def number_lines(numbers: Mapping[str, Any]) -> list[Line]:
    """Everybody who was forgotten, then every other set."""
    lines = [
        Line(name.removeprefix("forget_"), subject, _values(both["start"], both["now"]))
        for name, subjects in numbers["subjects"].items()
        for subject, both in subjects.items()
    ]
    for name, modalities in numbers["sets"].items():
        if name not in numbers["subjects"]:
            lines.append(Line("", f"({name})", _values(numbers["start"][name]["all"], modalities["all"])))
    return lines


def membership_line(numbers: Mapping[str, Any]) -> str:
    """How well attacks tell the forgotten from the held-out; empty where nobody is held out."""
    parts = {"this request": numbers["membership"], "all so far": numbers["summary"]}
    said = [
        f"{of}: " + ", ".join(f"{name} {number['value']:.3f}" for name, number in each.items() if name.endswith("_auc"))
        for of, each in parts.items()
    ]
    return f"membership (0.5: nobody can tell): {'; '.join(said)}" if numbers["membership"] else ""


def verdict_table(verdicts: Sequence[Mapping[str, Any]]) -> str:
    """Every gate with its value and its bound."""
    return table(["", "gate", "value", "bound", ""], [verdict_cells(each) for each in verdicts])


def verdict_cells(verdict: Mapping[str, Any]) -> list[str]:
    """The cells of a gate."""
    holds = "holds" if verdict["holds"] else "FAILS"
    return [holds, verdict["gate"], shown(verdict["value"]), shown(verdict["bound"]), verdict["note"]]


def outcome(folder: Path, request: Request) -> str:
    """What became of a request, and what can be done."""
    about, command = f"request {request.number}", "unlearn requests"
    if request.status is Status.WAITING:
        return (
            f"{about} waits: {state_of(request)} does not pass its gates. `{command} approve {folder} {request.number} "
            f"--by NAME` promotes it all the same, `{command} rollback {folder} {request.number} "
            "--by NAME` drops it."
        )
    if request.status is Status.PROMOTED:
        return f"{about} is done: its model is {folder}/models/{state_of(request)}."
    if request.status is Status.FAILED:
        return f"{about} failed ({request.error}); `{command} run {folder}` tries again."
    return f"{about} is {request.status}; `{command} run {folder} {request.number}` runs it."


def changes(before: Ledger, after: Ledger) -> list[str]:
    """What a rollback did to requests, a line for each thing."""
    said = {Status.ROLLED_BACK: "undone", Status.QUEUED: "queued again", Status.PROMOTED: "done again"}
    changed = {
        status: [
            n for n, each in sorted(after.requests.items()) if each.status is status is not before.requests[n].status
        ]
        for status in said
    }
    return [
        f"{text}: request {', '.join(map(str, changed[status]))}" for status, text in said.items() if changed[status]
    ]


def decided(state: State) -> str:
    """Who promoted a model, and why; empty where the gates did."""
    decision = state.decision or {}
    note = f": {decision['note']}" if decision.get("note") else ""
    return f"approved by {decision['by']}{note}" if decision.get("by") else ""


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Lay out text in columns, numbers to the right.

    Example:
        >>> print(table(["who", "n"], [["ada", "0.5"], ["bo", "12"]]))
        who    n
        ada  0.5
        bo    12
    """
    columns = [list(column) for column in zip(header, *rows, strict=True)]
    widths = [max(map(len, column)) for column in columns]
    right = [all(_is_number(cell) for cell in column[1:]) for column in columns]
    lines = [
        [cell.rjust(w) if to_right else cell.ljust(w) for cell, w, to_right in zip(line, widths, right, strict=True)]
        for line in (header, *rows)
    ]
    return "\n".join("  ".join(line).rstrip() for line in lines)


def state_of(request: Request) -> str:
    """The state that was made, or is being made, for a request."""
    return ABSENT if request.plan is None else str(request.plan["state"])


def names(subjects: Sequence[str]) -> str:
    """The first subjects, and how many more there are."""
    return ", ".join(subjects[:3]) + (f" and {len(subjects) - 3} more" if len(subjects) > 3 else "")


def shown(value: float | None) -> str:
    """A number as it is shown."""
    return ABSENT if value is None else f"{value:.3f}"


def _values(start: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, tuple[float | None, float | None]]:
    return {name: (start.get(name, {}).get("value"), now[name]["value"]) for name in TITLES if name in now}


def _is_number(text: str) -> bool:
    return text in ("", ABSENT) or text.removeprefix("-").replace(".", "", 1).isdecimal()
