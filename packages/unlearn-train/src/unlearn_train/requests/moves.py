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
        if twice and request.status is not Status.ROLLED_BACK:  # what was undone may be asked in other company
            raise ValueError(
                f"{_listed(twice)} in request {request.number} of {request.date} already ({request.status}); nothing "
                "was added."
            )
    number = max(ledger.requests, default=0) + 1
    content = {"request": number, "subjects": sorted(subjects), "reason": reason, "date": date, "gates": list(gates)}
    return {"kind": "added", **content}


def start(
    ledger: Ledger, number: int | None, versions: Mapping[str, str], overrides: Mapping[str, Any] | None = None
) -> Content | None:
    """Start a request, or take it up where it was cut off.

    Everybody whom any request ever named is left out of what is kept, whatever became of the request.

    It is taken up only where its state is there already or would be made of the same rows; else it begins anew, with a
    state and a seed that nothing had before.

    Args:
        ledger: as it is.
        number: of the request; the next one that has to be run where None.
        versions: of the packages, for the record.
        overrides: options of this run alone, instead of the ledger's.

    Returns:
        The entry to append; None where there is nothing to run.

    Raises:
        ValueError: the request is done or does not exist, or was rolled back and another names its subjects by now.
        RuntimeError: another one has to be decided on or finished first.
    """
    chosen = _next(ledger) if number is None else ledger.request(number)
    for waiting in ledger.having(Status.WAITING):
        raise RuntimeError(
            f"request {waiting.number} waits for a decision, and others start from its model or from the one before: "
            f"`approve FOLDER {waiting.number} --by NAME` or `rollback FOLDER {waiting.number} --by NAME` first."
        )
    if chosen is None:
        return None
    for running in ledger.having(Status.RUNNING):
        if running is not chosen:
            raise RuntimeError(
                f"request {running.number} was cut off: `run FOLDER` goes on with it, `rollback FOLDER "
                f"{running.number} --by NAME` gives it up."
            )
    if chosen.status is Status.PROMOTED:
        raise ValueError(f"request {chosen.number} is done: its model was promoted; roll it back to run it again.")
    _check_alone(ledger, chosen)
    plan = _plan(ledger, chosen, overrides or {})
    if _goes_on(ledger, chosen, plan):
        return {"kind": "resumed", "request": chosen.number, "versions": versions}
    return {"kind": "started", **plan, "versions": versions}


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
        target: a request (`4`), which is undone, or a state (`s3`), which becomes the current one. All else that was
            begun after it is still owed: it is queued again.
        by: who answers for it.
        note: why.

    Returns:
        The entries to append: none where nothing would change.

    Raises:
        ValueError: there is no such request or state, it was never promoted, another request names the subjects of one
            that would be done again, or nobody answers for it.
    """
    if not by.strip():
        raise ValueError("a rollback needs the name of who answers for it; give `--by`.")
    begun = {request.number: request.plan for request in ledger.requests.values() if request.plan is not None}
    if target.isdecimal():
        to, undone = _before_request(ledger, ledger.request(int(target)))
        owed = {number for number, plan in begun.items() if plan["parent"] != to}
    else:
        to, undone, owed = target, set(), set(begun)  # what is at work on a damaged model has to begin anew too
        if not ledger.state(target).promoted:
            raise ValueError(f"{target} was never promoted; only a state that has been current can be rolled back to.")
    kept = {state.request: state.name for state in ledger.lineage(to) if state.request is not None}
    undone -= kept.keys()
    owed -= kept.keys() | undone
    restored = {n: name for n, name in kept.items() if begun.get(n, {}).get("state") != name}
    for number in restored:
        _check_alone(ledger, ledger.request(number))
    if to == ledger.current and not undone | owed | restored.keys():
        return []
    decision = {"kind": "rolled back", "to": to, "by": by, "note": note}
    again = {str(number): name for number, name in restored.items()}
    return [{**decision, "undone": sorted(undone), "queued": sorted(owed), "restored": again}]


def _before_request(ledger: Ledger, request: Request) -> tuple[str, set[int]]:
    """The state before a request, and the request itself, unless it is undone already."""
    if request.status is Status.ROLLED_BACK:
        return ledger.current, set()
    if request.status is not Status.PROMOTED or request.plan is None:
        return ledger.current, {request.number}
    return request.plan["parent"], {request.number}


def _next(ledger: Ledger) -> Request | None:
    """What is under way, else what was asked first; what failed comes last, so that it holds nobody up."""
    left = [request for status in (Status.RUNNING, Status.QUEUED, Status.FAILED) for request in ledger.having(status)]
    return left[0] if left else None


def _goes_on(ledger: Ledger, request: Request, plan: Mapping[str, Any]) -> bool:
    """Whether an earlier attempt comes to what `plan` would."""
    earlier = request.plan
    if earlier is None or any(earlier.get(name) != plan.get(name) for name in ("parent", "overrides")):
        return False
    made = ledger.states.get(earlier["state"])
    if made is not None:  # nobody who asked since can be left out of it any more
        return made.request == request.number
    return bool(earlier["left_out"] == plan["left_out"])


def _check_alone(ledger: Ledger, request: Request) -> None:
    """Check that no other request names subjects of one that was rolled back."""
    for other in ledger.requests.values():
        shared = sorted(set(request.subjects) & set(other.subjects))
        alive = other.status is not Status.ROLLED_BACK and other.number != request.number
        if request.status is Status.ROLLED_BACK and alive and shared:
            raise ValueError(
                f"request {request.number} was rolled back, and {_listed(shared)} in request {other.number} by now "
                f"({other.status}); `rollback FOLDER {other.number} --by NAME` first."
            )


def _plan(ledger: Ledger, request: Request, overrides: Mapping[str, Any]) -> dict[str, Any]:
    # No name is used twice: a failed attempt keeps its own, and may be gone on with. The seed is made of it.
    name = f"s{ledger.planned + 1}"
    own = overrides or (request.plan or {}).get("overrides")
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
        **({"overrides": dict(own)} if own else {}),
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
