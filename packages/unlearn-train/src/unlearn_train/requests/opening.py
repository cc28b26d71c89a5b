"""What a ledger begins with: the first model, and how requests are served."""

import dataclasses
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unlearn_train import options
from unlearn_train.datasource import DATASET_FILES, digest
from unlearn_train.experiment import REAL_SETS
from unlearn_train.requests.gates import default_gates
from unlearn_train.requests.naming import check_names
from unlearn_train.requests.selecting import forgetting_metric, held_out, kept_subjects
from unlearn_train.requests.settings import RequestOptions
from unlearn_train.stages import RECORD

if TYPE_CHECKING:
    from unlearn_train.data import RowSets


GUARD = "guard.json"


def take(model: str, dtype: str, out: Path) -> None:
    """Copy a model's folder, or save what is on the hub; either is loaded first, to find faults now."""
    from unlearn_train.models import load_model, save_model

    loaded = load_model(model, dtype=dtype)
    if (Path(model) / "config.json").is_file():  # whole by itself, where one that holds an adapter needs its base
        shutil.copytree(model, out, dirs_exist_ok=True, ignore=shutil.ignore_patterns(RECORD))
    else:
        save_model(*loaded, out)


def with_gates(chosen: RequestOptions, sets: "RowSets") -> RequestOptions:
    """The options with gates, and checked against the data."""
    sets.of_subjects(kept_subjects(sets, chosen), chosen.tasks, what="what is kept")
    check_names(chosen.gates, sets, chosen)
    if chosen.gates:
        return chosen
    has_real = any(name in sets.sets for name in REAL_SETS)
    gates = default_gates(has_holdout=bool(held_out(sets)), has_real=has_real, metric=forgetting_metric(sets))
    return dataclasses.replace(chosen, gates=gates)


def check_unguarded(model: str) -> None:
    """Check that no guard is around the first model: the states made from it are saved without.

    Raises:
        ValueError: there is one.
    """
    if (Path(model) / GUARD).is_file():
        raise ValueError(
            f"{model} has a guard around it ({GUARD}), which would be lost with the first request, and what it keeps "
            "back be told; begin with a model whose weights have unlearned."
        )


def options_of(settings: Mapping[str, Any], overrides: Mapping[str, Any] | None = None) -> RequestOptions:
    """How requests are served, with what is another way in one run.

    Raises:
        ValueError: something else than `train` and `options` is to be another, or an option is unknown or out of its
            range.
    """
    other = sorted((overrides or {}).keys() - {"train", "options"})
    if other:
        raise ValueError(f"`{other[0]}` holds for the whole ledger; one run can have its own `train` and `options`.")
    return options.build(RequestOptions, options.merge(settings["options"], overrides or {}))


def read_rows(settings: Mapping[str, Any]) -> "RowSets":
    """The rows that the ledger was opened with.

    Raises:
        ValueError: they were altered.
    """
    from unlearn_train.data import RowSets

    folder = Path(settings["data"])
    sets = RowSets.read(folder)
    found = digest(folder, DATASET_FILES)
    for name, noted in settings["rows"].items():
        if found[name] != noted:
            raise ValueError(
                f"{folder / name} was altered since the ledger was opened; bring it back, or open a ledger anew from "
                "the current model."
            )
    return sets


def check_same(opened: Mapping[str, Any], asked: Mapping[str, Any], folder: Path) -> None:
    """Check that a ledger was opened with what is asked for now.

    Raises:
        ValueError: something is another; the message names it.
    """
    for name, value in asked.items():
        if opened[name] != value:
            raise ValueError(
                f"{folder} is a ledger that was opened with other {name}; choose another folder, or leave `init` out."
            )
