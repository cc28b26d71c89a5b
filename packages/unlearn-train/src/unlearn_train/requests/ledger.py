"""What a log of requests says: which requests there are, how far each has come, and which model is current."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from unlearn_train.requests.log import Content, Entry

START = "s0"
"""the state that a ledger begins with"""


class Status(StrEnum):
    """How far a request has come."""

    QUEUED = "queued"
    RUNNING = "running"
    FAILED = "failed"
    WAITING = "waiting"
    PROMOTED = "promoted"
    ROLLED_BACK = "rolled back"


@dataclass(frozen=True)
class Request:
    """Subjects that are to be forgotten."""

    number: int
    subjects: tuple[str, ...]
    reason: str
    date: str
    """of the request, ISO 8601"""
    gates: tuple[str, ...] = ()
    """beside those of the ledger"""
    status: Status = Status.QUEUED
    plan: Mapping[str, Any] | None = None
    """of the attempt that is under way, failed, waits or was promoted"""
    error: str | None = None
    """why the last attempt failed"""


@dataclass(frozen=True)
class State:
    """A model of the ledger."""

    name: str
    parent: str | None
    """the state that it was unlearned from"""
    request: int | None
    """that it was made for"""
    files: Mapping[str, str]
    """SHA-256 by path in the model's folder"""
    plan: Mapping[str, Any] | None = None
    """of the unlearning"""
    made: Content | None = None
    """what else was noted when it was made"""
    judged: Content | None = None
    """verdicts of the gates, and the evidence's files"""
    promoted: bool = False
    """whether it has ever been the current one"""
    decision: Content | None = None
    """of its promotion: `by`, None where the gates decided, and `note`"""


@dataclass(frozen=True)
class Ledger:
    """All requests and states."""

    settings: Mapping[str, Any]
    """what the ledger was opened with"""
    requests: Mapping[int, Request] = field(default_factory=dict)
    states: Mapping[str, State] = field(default_factory=dict)
    current: str = START
    planned: int = 0
    """the highest number that a state was ever planned with, made or not"""

    @classmethod
    def of(cls, entries: Sequence[Entry]) -> "Ledger":
        """Go through a log.

        Raises:
            ValueError: nothing was opened.
        """
        if not entries or entries[0].kind != "opened":
            raise ValueError("no ledger was opened here; `unlearn requests init` opens one.")
        first = entries[0].content
        start = State(START, None, None, first["files"], promoted=True)
        ledger = cls(first, states={START: start})
        for entry in entries[1:]:
            ledger = _after(ledger, entry.kind, entry.content)
        return ledger

    def request(self, number: int) -> Request:
        """Return a request.

        Raises:
            ValueError: there is none of this number.
        """
        if number not in self.requests:
            known = f"the last is {max(self.requests)}" if self.requests else "there is none yet"
            raise ValueError(f"there is no request {number}; {known}.")
        return self.requests[number]

    def state(self, name: str) -> State:
        """Return a state.

        Raises:
            ValueError: there is none of this name.
        """
        if name not in self.states:
            raise ValueError(f"there is no state {name!r}; there are {', '.join(self.states)}.")
        return self.states[name]

    def lineage(self, name: str) -> list[State]:
        """Return a state and all that it was made from, the first state first."""
        states = [self.state(name)]
        while (parent := states[-1].parent) is not None:
            states.append(self.states[parent])
        return states[::-1]

    def forgotten(self, name: str) -> list[int]:
        """Return the requests that a state has been through, in their order."""
        return [state.request for state in self.lineage(name) if state.request is not None]

    def having(self, *statuses: Status) -> list[Request]:
        """Return the requests of some statuses, in the order of their numbers."""
        return [request for _, request in sorted(self.requests.items()) if request.status in statuses]


def _after(ledger: Ledger, kind: str, content: Content) -> Ledger:
    """The ledger after one more entry."""
    match kind:
        case "added":
            request = Request(
                content["request"],
                tuple(content["subjects"]),
                content["reason"],
                content["date"],
                tuple(content["gates"]),
            )
            return replace(ledger, requests={**ledger.requests, request.number: request})
        case "started":
            planned = max(ledger.planned, int(content["state"].removeprefix("s")))
            return replace(_with(ledger, content, status=Status.RUNNING, plan=content, error=None), planned=planned)
        case "resumed":
            return _with(ledger, content, status=Status.RUNNING, error=None)
        case "failed":
            anew = {"plan": None} if content.get("diverged") else {}  # the same seed would go the same way
            return _with(ledger, content, status=Status.FAILED, error=content["error"], **anew)
        case "unlearned":
            plan = ledger.requests[content["request"]].plan or {}
            state = State(plan["state"], plan["parent"], content["request"], content["files"], plan, content)
            return replace(ledger, states={**ledger.states, state.name: state})
        case "evaluated":
            return _noted(ledger, content["state"], judged=content)
        case "waiting":
            return _with(ledger, content, status=Status.WAITING)
        case "promoted":
            ledger = _with(ledger, content, status=Status.PROMOTED)
            ledger = _noted(ledger, content["state"], promoted=True, decision=content)
            return replace(ledger, current=content["state"])
        case "rolled back":
            return _rolled_back(ledger, content)
    raise ValueError(f"the ledger holds an entry of kind {kind!r}, which this version does not know; use a newer one.")


def _with(ledger: Ledger, content: Content, **changes: Any) -> Ledger:
    number = content["request"]
    return replace(ledger, requests={**ledger.requests, number: replace(ledger.requests[number], **changes)})


def _noted(ledger: Ledger, name: str, **changes: Any) -> Ledger:
    return replace(ledger, states={**ledger.states, name: replace(ledger.states[name], **changes)})


def _rolled_back(ledger: Ledger, content: Content) -> Ledger:
    for status, numbers in ((Status.ROLLED_BACK, content["undone"]), (Status.QUEUED, content["queued"])):
        for number in numbers:
            ledger = _with(ledger, {"request": number}, status=status, plan=None, error=None)
    for number, name in content["restored"].items():
        plan = ledger.states[name].plan
        ledger = _with(ledger, {"request": int(number)}, status=Status.PROMOTED, plan=plan, error=None)
    return replace(ledger, current=content["to"])
