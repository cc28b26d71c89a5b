"""What a gate may name: the sets, modalities and metrics that the evidence on this data can give numbers of."""

import difflib
from collections.abc import Collection, Iterable, Sequence

from unlearn_train.data import RowSets
from unlearn_train.experiment import REAL_SETS
from unlearn_train.requests.gates import GROUPS, Gate
from unlearn_train.requests.selecting import HOLDOUT, held_out, kept_subjects
from unlearn_train.requests.settings import RequestOptions

METRICS = (
    "probability",
    "rouge_l_recall",
    "keyword_accuracy",
    "keyword_em",
    "truth_ratio",
    "exact_memorization",
    "extraction_strength",
    "mcq_accuracy",
    "cloze_accuracy",
)
"""of every set; `normalized_probability` is given of the real sets alone"""
CONSISTENT = ("mcq_accuracy", "cloze_accuracy", "rouge_l_recall", "keyword_accuracy")
"""also as `<metric>_consistency`, where a set has texts and images"""
ATTACKS = ("loss_auc", "zlib_auc", "min_k_auc", "min_k_pp_auc")
SUMMARY = (
    "model_utility",
    *(f"clear_{name}{suffix}" for name in ("real", "retain", "forget") for suffix in ("", "_no_rouge")),
    *ATTACKS,
)


def check_names(gates: Sequence[str], sets: RowSets, options: RequestOptions, asked: Collection[str] = ()) -> None:
    """Check that there will be numbers of what gates name.

    Args:
        gates: as they were written.
        sets: the data.
        options: of the ledger.
        asked: the subjects of the request that the gates are for; anybody where it is empty.

    Raises:
        ValueError: a set, modality or metric is not among those there are; the message says what is.
    """
    for gate in map(Gate.parse, gates):
        first, *_, last = gate.path
        if first in ("membership", "summary"):
            _among(gate, "number", last, ATTACKS if first == "membership" else SUMMARY)
            if gate.reference is not None:
                raise ValueError(
                    f"the gate {gate.text!r}: the bound of {first} must be a number, not {gate.reference}."
                )
        else:
            _check_set(gate, sets, options, asked)
        if (gate.reference == HOLDOUT or last in ATTACKS) and not held_out(sets):
            raise ValueError(
                f"the gate {gate.text!r}: the data has no set `{HOLDOUT}` to compare with; choose another."
            )


def _check_set(gate: Gate, sets: RowSets, options: RequestOptions, asked: Collection[str]) -> None:
    name, modality, metric = gate.path
    real = [each for each in REAL_SETS if sets.sets.get(each)]
    holdout = [HOLDOUT] if held_out(sets) else []
    _among(gate, "set", name, [*GROUPS[:2], *(["real"] if real else []), "retain", *holdout, *real])
    about = {"forget": frozenset(asked), "retain": kept_subjects(sets, options), HOLDOUT: held_out(sets)}
    about |= {each: frozenset(sets.sets[each]) for each in real}
    about["real"] = frozenset(subject for each in real for subject in sets.sets[each])
    rows = _rows(sets, {*options.tasks, "mcq"}, about.get(name) or frozenset(sets.rows["subject"]))
    _among(gate, "modality", modality, ["all", *sorted({kind for kind, _ in rows})])
    tasks = sorted({task for _, task in rows} - {"mcq"})
    normalized = ["normalized_probability"] if name in ("real", *real) else []
    consistent = [f"{each}_consistency" for each in CONSISTENT]
    _among(
        gate, "metric", metric, [*METRICS, *normalized, *(f"keyword_accuracy_{task}" for task in tasks), *consistent]
    )


def _rows(sets: RowSets, tasks: Collection[str], subjects: Collection[str]) -> set[tuple[str, str]]:
    """The modalities and tasks of what is asked about subjects."""
    images = sets.rows.data.column("image").is_null().to_pylist()
    rows: Iterable[tuple[str, str, bool]] = zip(sets.rows["subject"], sets.rows["task"], images, strict=True)
    return {
        ("text" if no_image else "image", task)
        for subject, task, no_image in rows
        if subject in subjects and task in tasks
    }


def _among(gate: Gate, what: str, name: str, known: Collection[str]) -> None:
    if name in known:
        return
    near = difflib.get_close_matches(name, known, 1)
    hint = f"did you mean `{near[0]}`? " if near else ""
    raise ValueError(f"the gate {gate.text!r}: there will be no {what} `{name}`; {hint}known here: {', '.join(known)}.")
