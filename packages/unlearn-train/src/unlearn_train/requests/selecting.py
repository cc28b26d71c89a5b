"""Which rows are forgotten, kept and asked."""

from collections.abc import Mapping
from typing import Any

from unlearn_train.data import Row, RowSets
from unlearn_train.experiment import REAL_SETS
from unlearn_train.requests.settings import RequestOptions
from unlearn_train.sampling import sample_rows

HOLDOUT = "holdout"
KNOWN_BEFORE = ("pretrain", *REAL_SETS)

Plan = Mapping[str, Any]
"""what was noted when a request was started, see `moves.start`"""


def held_out(sets: RowSets) -> frozenset[str]:
    """Return the subjects that no model learns."""
    return frozenset(sets.sets.get(HOLDOUT, ()))


def kept_subjects(sets: RowSets, options: RequestOptions) -> frozenset[str]:
    """Return whom a model must still know as long as nobody asks for anything else.

    Raises:
        ValueError: a set of `retain` or `rehearse` is not there, or shares subjects with `holdout`.
    """
    for kind, names in (("retain", options.retain), ("rehearse", options.rehearse)):
        for name in names:
            if name not in sets.sets:
                raise ValueError(f"there is no set `{name}` in this data; it has {', '.join(sorted(sets.sets))}.")
            shared = sorted(held_out(sets).intersection(sets.sets[name]))
            if shared:
                raise ValueError(
                    f"`{kind}` and the set `{HOLDOUT}` share subjects, {shared[0]} among them; choose other sets."
                )
    if not options.retain:
        others = {subject for name in (HOLDOUT, *KNOWN_BEFORE) for subject in sets.sets.get(name, ())}
        return frozenset(sets.rows["subject"]) - others
    return frozenset(subject for name in options.retain for subject in sets.sets[name])


def training_rows(sets: RowSets, options: RequestOptions, plan: Plan) -> tuple[list[Row], list[Row]]:
    """Return the rows to forget and the rows to keep.

    Raises:
        ValueError: one side has none.
    """
    forget = sets.of_subjects(plan["subjects"], options.tasks, what=f"request {plan['request']}")
    kept = kept_subjects(sets, options) | {subject for name in options.rehearse for subject in sets.sets[name]}
    left = kept - set(plan["left_out"])
    return forget, sets.of_subjects(left, options.tasks, what="what is left to keep")


def asked_rows(sets: RowSets, options: RequestOptions, plan: Plan) -> dict[str, list[Row]]:
    """Return what a model is asked, by set: each request so far, what is kept, held out and known from before."""
    tasks = {*options.tasks, "mcq"}
    requests = {**plan["earlier"], str(plan["request"]): plan["subjects"]}
    asked = {
        f"forget_{number}": sets.of_subjects(subjects, tasks, what=f"request {number}")
        for number, subjects in requests.items()
    }
    kept = {"retain": kept_subjects(sets, options), HOLDOUT: held_out(sets)}
    kept |= {name: frozenset(sets.sets[name]) for name in REAL_SETS if name in sets.sets}
    with_rows = {
        subject for subject, task in zip(sets.rows["subject"], sets.rows["task"], strict=True) if task in tasks
    }
    for name, subjects in kept.items():
        left = (subjects & with_rows) - set(plan["left_out"])
        if left or name == "retain":
            rows = sets.of_subjects(left, tasks, what=f"set `{name}`")
            asked[name] = sample_rows(rows, options.evaluate.rows, seed=options.seed)
    return asked


def forgetting_metric(sets: RowSets) -> str:
    """Return which metric says best whether somebody is known: of keywords, where there are any."""
    return "keyword_accuracy" if any(sets.rows["keywords"]) else "rouge_l_recall"
