"""The numbers of a state: of every request so far, of what is kept, and beside each what it was at the start."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unlearn_train.data import Row
from unlearn_train.experiment import REAL_SETS
from unlearn_train.requests.selecting import HOLDOUT
from unlearn_train.settings import EvaluateOptions

if TYPE_CHECKING:
    from unlearn_metrics import Evidence

Asked = Mapping[str, Sequence[Row]]
SHOWN = ("probability", "rouge_l_recall", "keyword_accuracy", "truth_ratio", "mcq_accuracy")
"""metrics that are given of each subject"""


def collect(
    model: Any, processor: Any, asked: Asked, options: EvaluateOptions, folder: Path, *, quiet: bool
) -> "Evidence":
    """Ask a model, keeping what it says in `folder`; what was cut off is taken up."""
    from unlearn_metrics.scoring import collect_evidence

    return collect_evidence(
        model,
        processor,
        asked,
        max_new_tokens=options.max_new_tokens,
        token_budget=options.batch_tokens,
        folder=folder,
        progress=not quiet,
    )


def not_asked_yet(asked: Asked, earlier: Sequence["Evidence"]) -> list[Row]:
    """Return the rows that no earlier evidence on the first state is about, each once."""
    known = {row_id for evidence in earlier for row_id in evidence.scores["id"].to_pylist()}
    rows = {row["id"]: row for rows in asked.values() for row in rows if row["id"] not in known}
    return list(rows.values())


def as_asked(asked: Asked, pieces: Sequence["Evidence"]) -> "Evidence":
    """Return the evidence on the first state, of the rows of `asked` alone and in its sets.

    Args:
        asked: rows by set.
        pieces: of evidence on the first state; together they have every row. What is in several, as where a piece was
            damaged for a while, is taken from the first.
    """
    from unlearn_metrics import Evidence

    scores = _as_asked(asked, [piece.scores for piece in pieces])
    return Evidence(scores, _as_asked(asked, [piece.generations for piece in pieces]), dict(pieces[-1].info))


def numbers_of(evidence: "Evidence", start: "Evidence", plan: Mapping[str, Any]) -> dict[str, Any]:
    """Return all numbers of a state, ready for JSON.

    Args:
        evidence: on the state.
        start: on the first state, on the same rows.
        plan: of the request.

    Returns:
        `sets` and `start` are {set: {modality: {metric: number}}}, of the state and of the first one; `summary` holds
        the state's numbers over sets, `missing` why others are not there; `membership` is {attack: number} of this
        request against the held-out subjects, where `summary` has that of all requests so far; `subjects` is
        {set: {subject: {"now" or "start": {metric: number}}}} of everybody forgotten; `earlier` and `real` name sets.
    """
    from unlearn_metrics import compute

    now, before = compute(evidence, by_subject=True), compute(start, by_subject=True)
    *earlier, this = [f"forget_{number}" for number in (*plan["earlier"], plan["request"])]
    attacks = compute(_of_sets(evidence, this, HOLDOUT))["summary"]
    return {
        "sets": now["sets"],
        "start": before["sets"],
        "summary": now["summary"],
        "missing": now["missing"],
        "membership": {name: number for name, number in attacks.items() if name.endswith("_auc")},
        "subjects": {
            name: {
                subject: {"start": _shown(before["by_subject"][name][subject]), "now": _shown(found)}
                for subject, found in now["by_subject"][name].items()
            }
            for name in (*earlier, this)
        },
        "earlier": earlier,
        "real": [name for name in REAL_SETS if name in now["sets"]],
    }


def _of_sets(evidence: "Evidence", *names: str) -> "Evidence":
    import pyarrow as pa
    import pyarrow.compute as pc
    from unlearn_metrics import Evidence

    wanted = pa.array(names)
    scores, said = (each.filter(pc.is_in(each["set"], wanted)) for each in (evidence.scores, evidence.generations))
    return Evidence(scores, said, evidence.info)


def _shown(found: Mapping[str, Any]) -> dict[str, Any]:
    return {metric: found["all"][metric] for metric in SHOWN if metric in found["all"]}


def _as_asked(asked: Asked, tables: Sequence[Any]) -> Any:
    import pyarrow as pa
    import pyarrow.compute as pc

    known: set[str] = set()
    pieces = []
    for each in tables:
        pieces.append(each.filter(pc.invert(pc.is_in(each["id"], pa.array(sorted(known), pa.string())))))
        known |= set(each["id"].to_pylist())
    table = pa.concat_tables(pieces)
    parts = []
    for name, rows in asked.items():
        part = table.filter(pc.is_in(table["id"], pa.array([row["id"] for row in rows])))
        column = part.column_names.index("set")
        parts.append(part.set_column(column, "set", pa.array([name] * len(part), pa.string())))
    return pa.concat_tables(parts)
