"""The audit as one HTML page that needs nothing else; all text from outside is escaped."""

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

from unlearn_train.requests.showing import ABSENT, membership_line, number_cells, verdict_cells

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 72rem; padding: 0 1rem; color: #1b1f24; }
table { border-collapse: collapse; margin: .5rem 0 1.5rem; font-variant-numeric: tabular-nums; }
td, th { border-bottom: 1px solid #d8dee4; padding: .2rem .7rem; text-align: left; vertical-align: top; }
code { font-size: 85%; overflow-wrap: anywhere; }
.fails { color: #b42318; font-weight: 600; }
summary { cursor: pointer; }
"""


def page(audit: Mapping[str, Any]) -> str:
    """Return the page.

    Args:
        audit: see `audit.audit_of`.
    """
    settings, options = audit["settings"], audit["settings"]["options"]
    facts = [
        ("model at the start", settings["model"]),
        ("data", settings["data"]),
        *((f"SHA-256 of {name}", value) for name, value in settings["rows"].items()),
        ("method", f"{options['method']} {options['options'] or ''}"),
        ("current model", audit["current"]),
        ("forgotten", ", ".join(audit["forgotten"]) or ABSENT),
        ("last hash of the log", audit["head"]),
    ]
    body = [
        "<h1>Audit of deletion requests</h1>",
        _table((), facts),
        "<h2>Requests</h2>",
        _table(
            ("request", "status", "state", "date", "subjects", "reason"),
            ([_text(each[name]) for name in _REQUEST] for each in audit["requests"]),
        ),
        *(_state(state) for state in audit["states"]),
        "<h2>Log</h2>",
        f"<p>{escape(audit['chain'])}.</p>",
        _table(("", "time", "what", "request", "details", "hash"), map(_entry, audit["entries"])),
    ]
    head = f'<meta charset="utf-8"><title>Audit of deletion requests</title><style>{_STYLE}</style>'
    return f'<!doctype html>\n<html lang="en"><head>{head}</head>\n<body>{"".join(body)}</body></html>\n'


_REQUEST = ("request", "status", "state", "date", "subjects", "reason")
_SHOWN_APART = ("number", "time", "kind", "hash", "request", "files", "versions", "verdicts", "rows", "options")


def _state(state: Mapping[str, Any]) -> str:
    made_for = f", for request {state['request']} from {state['parent']}" if state["request"] else ", the first"
    facts = [
        ("promoted", "yes" if state["promoted"] else "no"),
        *([("approved by", state["by"])] if state["by"] else []),
        *([("note", state["note"])] if state["note"] else []),
        ("model's files now", state["model_now"]),
        *([("evidence's files now", state["evidence_now"])] if state["evidence_now"] else []),
        *([("rows", _pairs(state["rows"])), ("seconds", _pairs(state["seconds"]))] if state["rows"] else []),
        ("versions", _pairs(state["versions"])),
    ]
    parts = [f"<h2>State {escape(state['state'])}{escape(made_for)}</h2>", _table((), facts)]
    if state["verdicts"] is not None:
        parts.append(_table(("", "gate", "value", "bound", ""), map(verdict_cells, state["verdicts"])))
    if state["numbers"] is not None:
        parts += [_table(*number_cells(state["numbers"])), f"<p>{escape(membership_line(state['numbers']))}</p>"]
    files = {**state["files"], **{f"evidence: {name}": value for name, value in (state["evidence"] or {}).items()}}
    return "".join(parts) + f"<details><summary>SHA-256 of its files</summary>{_table((), files.items())}</details>"


def _entry(entry: Mapping[str, Any]) -> list[str]:
    details = {name: value for name, value in entry.items() if name not in _SHOWN_APART}
    return [
        *(_text(entry.get(name, "")) for name in ("number", "time", "kind", "request")),
        _pairs(details),
        entry["hash"],
    ]


def _pairs(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {_text(value)}" for name, value in values.items())


def _text(value: Any) -> str:
    if value is None:
        return ABSENT
    if isinstance(value, Mapping):
        return _pairs(value) or ABSENT
    return ", ".join(map(_text, value)) if isinstance(value, list) else str(value)


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [f"<tr>{''.join(f'<th>{escape(title)}</th>' for title in header)}</tr>"] if header else []
    lines += [f"<tr>{''.join(map(_cell, row))}</tr>" for row in rows]
    return f"<table>{''.join(lines)}</table>"


def _cell(text: str) -> str:
    if len(text) == 64 and text.isalnum():
        return f"<td><code>{text}</code></td>"
    return f"<td{' class=fails' if text == 'FAILS' else ''}>{escape(text)}</td>"
