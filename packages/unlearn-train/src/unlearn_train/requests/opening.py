"""What a ledger begins with: the first model, and how requests are served."""

import dataclasses
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unlearn_train.experiment import REAL_SETS
from unlearn_train.requests.gates import default_gates
from unlearn_train.requests.selecting import forgetting_metric, held_out, kept_subjects
from unlearn_train.requests.settings import RequestOptions
from unlearn_train.stages import RECORD

if TYPE_CHECKING:
    from unlearn_train.data import RowSets


WHOLE = ("config.json", "guard.json")
"""a folder with either needs no other; one that holds an adapter needs its base"""


def take(model: str, dtype: str, out: Path) -> None:
    """Copy a model's folder, or save what is on the hub; either is loaded first, to find faults now."""
    from unlearn_train.models import load_model, save_model

    loaded = load_model(model, dtype=dtype)
    if any((Path(model) / name).is_file() for name in WHOLE):
        shutil.copytree(model, out, dirs_exist_ok=True, ignore=shutil.ignore_patterns(RECORD))
    else:
        save_model(*loaded, out)


def with_gates(chosen: RequestOptions, sets: "RowSets") -> RequestOptions:
    """The options with gates, and checked against the data."""
    sets.of_subjects(kept_subjects(sets, chosen), chosen.tasks, what="what is kept")
    if chosen.gates:
        return chosen
    has_real = any(name in sets.sets for name in REAL_SETS)
    gates = default_gates(has_holdout=bool(held_out(sets)), has_real=has_real, metric=forgetting_metric(sets))
    return dataclasses.replace(chosen, gates=gates)


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
