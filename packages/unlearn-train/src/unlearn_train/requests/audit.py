"""The audit of a ledger: what was asked, done and measured, by which versions, with hashes; as JSON and as a page."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from unlearn_train.requests.audit_page import page
from unlearn_train.requests.files import check_files
from unlearn_train.requests.ledger import Ledger, Request, State
from unlearn_train.requests.log import Entry
from unlearn_train.requests.serving import Requests

CHAIN = (
    "the hash of an entry is SHA-256, in hexadecimal digits, of the hash before it (nothing for the first), a newline, "
    "and the entry without its hash as JSON, in UTF-8: keys sorted by code point at every level, no spaces, characters "
    "beyond ASCII as they are, numbers as Python writes them (the shortest digits that give the same double; 1.0, "
    "1e-05); that is, of Python's json.dumps(entry, sort_keys=True, separators=(',', ':'), ensure_ascii=False)"
)


def export(requests: Requests, out: Path) -> list[Path]:
    """Write `audit.json` and `audit.html`, both whole by themselves; what is there of an earlier export is replaced.

    Nothing in them says when they were written: of a ledger that has not changed, they are the same again.

    Args:
        requests: of which the audit is.
        out: folder to write to; made where it is not there.

    Returns:
        The paths of both.

    Raises:
        ValueError: there is no ledger, or its log was altered. Models and evidence that were altered are no error: the
            audit says so.
    """
    audit = audit_of(requests)
    out.mkdir(parents=True, exist_ok=True)
    texts = {"audit.json": json.dumps(audit, indent=1, ensure_ascii=False) + "\n", "audit.html": page(audit)}
    for name, text in texts.items():
        partial = out / f".{name}.partial"
        partial.write_text(text, encoding="utf-8")
        partial.replace(out / name)
    return [out / name for name in texts]


def audit_of(requests: Requests) -> dict[str, Any]:
    """Return what `audit.json` holds.

    Returns:
        `settings`, `current` (the state whose model is in use), `requests`, `states` with their numbers, `entries` (the
        whole log), `head` (the last hash), and `chain`, how hashes are made.

    Raises:
        ValueError: there is no ledger, or its log was altered.
    """
    entries = requests.entries
    ledger = Ledger.of(entries)
    return {
        "settings": {name: value for name, value in ledger.settings.items() if name not in ("files", "versions")},
        "current": ledger.current,
        "forgotten": sorted(
            subject for number in ledger.forgotten(ledger.current) for subject in ledger.requests[number].subjects
        ),
        "requests": [_request(each, entries) for _, each in sorted(ledger.requests.items())],
        "states": [_state(each, requests, ledger.settings["versions"]) for each in ledger.states.values()],
        "entries": [_entry(each) for each in entries],
        "head": entries[-1].hash,
        "chain": CHAIN,
    }


def _request(request: Request, entries: Sequence[Entry]) -> dict[str, Any]:
    number = request.number
    return {
        "request": number,
        "subjects": list(request.subjects),
        "reason": request.reason,
        "date": request.date,
        "status": str(request.status),
        "state": request.plan["state"] if request.plan else None,
        "error": request.error,
        "entries": [each.number for each in entries if number in _concerned(each)],
    }


def _concerned(entry: Entry) -> set[int]:
    """The requests that an entry is about."""
    content = entry.content
    changed = {*content.get("undone", ()), *content.get("queued", ()), *map(int, content.get("restored", ()))}
    return changed | ({content["request"]} if "request" in content else set())


def _state(state: State, requests: Requests, versions: Mapping[str, str]) -> dict[str, Any]:
    made, judged = state.made or {}, state.judged or {}
    return {
        "state": state.name,
        "parent": state.parent,
        "request": state.request,
        "promoted": state.promoted,
        "by": (state.decision or {}).get("by"),
        "note": (state.decision or {}).get("note"),
        "files": dict(state.files),
        "model_now": _whole(requests.model(state.name), state.files),
        "rows": made.get("rows"),
        "versions": made.get("versions", versions),
        "seconds": {"unlearning": made.get("seconds"), "evaluating": judged.get("seconds")},
        "verdicts": judged.get("verdicts"),
        "evidence": judged.get("files"),
        "evidence_now": _whole(requests.evidence(state.name), judged["files"]) if judged else None,
        "numbers": _numbers(state, requests),
    }


def _whole(folder: Path, files: Mapping[str, str]) -> str:
    try:
        check_files(folder, files)
    except ValueError as error:
        return str(error).partition(";")[0]
    return "as noted"


def _numbers(state: State, requests: Requests) -> Any:
    try:
        return requests.numbers(state.name) if state.judged else None
    except ValueError:
        return None  # `evidence_now` says why


def _entry(entry: Entry) -> dict[str, Any]:
    return {**entry.content, "number": entry.number, "time": entry.time, "kind": entry.kind, "hash": entry.hash}
