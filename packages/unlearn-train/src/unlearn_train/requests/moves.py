"""What may be done with a ledger next: from what is in it to the entries that are to be appended, or to a refusal."""

from collections.abc import Collection, Mapping, Sequence
from datetime import date as Date
from hashlib import blake2b
from typing import Any

from unlearn_train.requests.gates import Gate, Verdict
from unlearn_train.requests.ledger import Ledger, Request, Status
from unlearn_train.requests.log import Content


def add(
    ledger: Ledger,
    subjects: Sequence[str],
    *,
    reason: str,
    date: str,
    gates: Sequence[str] = (),
    known: Collection[str],
    held_out: Collection[str],
) -> Content:
    """Add a request.

    Args:
        ledger: as it is.
        subjects: that are to be forgotten.
        reason: why, for the record.
        date: when it was asked, ISO 8601.
        gates: beside those of the ledger.
        known: the subjects that have rows.
        held_out: those that no model learns, and that forgotten ones are compared with.

    Raises:
        ValueError: nobody is named, or somebody who is not in the data, held out, or named by a request already.
    """
    subjects = list(dict.fromkeys(subjects))
    if not subjects:
        raise ValueError("a request must name subjects; give `--subjects`.")
    if not reason.strip():
        raise ValueError("a request must have a reason, for the record; give `--reason`.")
    for gate in gates:
        Gate.parse(gate)
    _check_date(date)
    unknown = [subject for subject in subjects if subject not in known]
    if unknown:
        raise ValueError(f"{_listed(unknown)} not in the data, so there is nothing to unlearn; nothing was added.")
    outside = [subject for subject in subjects if subject in held_out]
    if outside:
        raise ValueError(
            f"{_listed(outside)} in the set `holdout`, which no model learns and forgotten subjects are compared with; "
            "nothing was added."
        )
    for request in ledger.requests.values():
        twice = sorted(set(subjects) & set(request.subjects))
        if twice:
            again = f"; `run FOLDER {request.number}` runs it again" if request.status is Status.ROLLED_BACK else ""
            raise ValueError(
                f"{_listed(twice)} in request {request.number} of {request.date} already ({request.status}){again}; "
                "nothing was added."
            )
    number = max(ledger.requests, default=0) + 1
    content = {"request": number, "subjects": sorted(subjects), "reason": reason, "date": date, "gates": list(gates)}
    return {"kind": "added", **content}


def start(ledger: Ledger, number: int | None, versions: Mapping[str, str]) -> Content | None:
    """Start a request, or take it up where it was cut off.

    Everybody whom any request ever named is left out of what is kept, whatever became of the request.

    Args:
        ledger: as it is.
        number: of the request; the next one that has to be run where None.
        versions: of the packages, for the record.

    Returns:
        The entry to append; None where there is nothing to run.

    Raises:
        ValueError: the request is done or does not exist.
        RuntimeError: another one has to be decided on or finished first.
    """
    chosen = _next(ledger) if number is None else ledger.request(number)
    for waiting in ledger.having(Status.WAITING):
        raise RuntimeError(
            f"request {waiting.number} waits for a decision, and others start from its model or from the one before: "
            f"`approve FOLDER {waiting.number} --by NAME` or `rollback FOLDER {waiting.number}` first."
        )
    if chosen is None:
        return None
    for running in ledger.having(Status.RUNNING):
        if running is not chosen:
            raise RuntimeError(
                f"request {running.number} was cut off: `run FOLDER` goes on with it, `rollback FOLDER "
                f"{running.number}` gives it up."
            )
    if chosen.status is Status.PROMOTED:
        raise ValueError(f"request {chosen.number} is done: its model was promoted; roll it back to run it again.")
    if chosen.plan is not None and chosen.plan["parent"] == ledger.current:
        return {"kind": "resumed", "request": chosen.number, "versions": versions}
    return {"kind": "started", **_plan(ledger, chosen), "versions": versions}


def judge(request: Request, verdicts: Sequence[Verdict], files: Mapping[str, str], **more: Any) -> list[Content]:
    """Note what the gates say, and promote the new model if all hold; else it waits."""
    about = {"request": request.number, "state": (request.plan or {})["state"]}
    judged = {**about, "verdicts": [verdict.plain() for verdict in verdicts], "files": files, **more}
    holds = all(verdict.holds for verdict in verdicts)
    decision = {"kind": "promoted", "by": None, "note": "all gates hold"} if holds else {"kind": "waiting"}
    return [{"kind": "evaluated", **judged}, {**decision, **about}]


def approve(ledger: Ledger, number: int, *, by: str, note: str) -> list[Content]:
    """Promote a model that waits.

    Returns:
        The entries to append: none where the request's model was promoted already.

    Raises:
        ValueError: the request does not wait, or nobody answers for it.
    """
    request = ledger.request(number)
    if request.status is Status.PROMOTED:
        return []
    if request.status is not Status.WAITING:
        raise ValueError(f"request {number} does not wait for approval: it is {request.status}.")
    if not by.strip():
        raise ValueError("an approval needs the name of who answers for it; give `--by`.")
    return [{"kind": "promoted", "request": number, "state": (request.plan or {})["state"], "by": by, "note": note}]


def roll_back(ledger: Ledger, target: str, *, by: str, note: str) -> list[Content]:
    """Make an earlier state the current one.

    Args:
        ledger: as it is.
        target: a request (`4`), which is undone, or a state (`s3`), which becomes the current one. Requests that were
            promoted after that request are still owed: they are queued again. After a state they are undone as well,
            for they were meant.
        by: who answers for it.
        note: why.

    Returns:
        The entries to append: none where nothing would change.

    Raises:
        ValueError: there is no such request or state, or it was never promoted.
    """
    if target.isdecimal():
        to, undone = _before_request(ledger, ledger.request(int(target)))
    else:
        to, undone = target, {request.number for request in ledger.having(Status.PROMOTED, Status.WAITING)}
        if not ledger.state(target).promoted:
            raise ValueError(f"{target} was never promoted; only a state that has been current can be rolled back to.")
    kept = {state.request: state.name for state in ledger.lineage(to) if state.request is not None}
    undone -= kept.keys()
    begun = [request for request in ledger.requests.values() if request.plan is not None]
    stale = {request.number for request in begun if (request.plan or {})["parent"] != to} - kept.keys() - undone
    restored = {n: name for n, name in kept.items() if (ledger.requests[n].plan or {}).get("state") != name}
    if to == ledger.current and not undone | stale | restored.keys():
        return []
    decision = {"kind": "rolled back", "to": to, "by": by, "note": note}
    again = {str(number): name for number, name in restored.items()}
    return [{**decision, "undone": sorted(undone), "queued": sorted(stale), "restored": again}]


def _before_request(ledger: Ledger, request: Request) -> tuple[str, set[int]]:
    """The state before a request, and the request itself, unless it is undone already."""
    if request.status is Status.ROLLED_BACK:
        return ledger.current, set()
    if request.status is not Status.PROMOTED or request.plan is None:
        return ledger.current, {request.number}
    return request.plan["parent"], {request.number}


def _next(ledger: Ledger) -> Request | None:
    """What is under way, else what was asked first."""
    left = [*ledger.having(Status.RUNNING), *ledger.having(Status.FAILED, Status.QUEUED)]
    return left[0] if left else None


def _plan(ledger: Ledger, request: Request) -> dict[str, Any]:
    name = f"s{len(ledger.states)}"
    before = ledger.forgotten(ledger.current)
    seed = f"{ledger.settings['options']['seed']}/{name}"
    return {
        "request": request.number,
        "state": name,
        "parent": ledger.current,
        "subjects": list(request.subjects),
        "earlier": {str(number): list(ledger.requests[number].subjects) for number in before},
        "left_out": sorted({subject for each in ledger.requests.values() for subject in each.subjects}),
        "gates": [*ledger.settings["options"]["gates"], *request.gates],
        "seed": int.from_bytes(blake2b(seed.encode(), digest_size=4).digest()) % 2**31,
    }


def _check_date(text: str) -> None:
    try:
        Date.fromisoformat(text)
    except ValueError:
        raise ValueError(f"a date is written as 2026-01-31, got {text!r}.") from None


def _listed(subjects: Sequence[str]) -> str:
    shown = ", ".join(f"`{subject}`" for subject in subjects[:5])
    more = f" and {len(subjects) - 5} more" if len(subjects) > 5 else ""
    return f"{shown}{more} {'is' if len(subjects) == 1 else 'are'}"
