"""Which rows two models share: those of a role, and the check that both were asked the same."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from unlearn_metrics._arrow import is_one_of
from unlearn_metrics.benchmarks import role


def of_role(rows: pa.Table, wanted: str) -> pa.Table:
    """The rows of all sets of that role in the order of their id, each id once."""
    names = [name for name in pc.unique(rows["set"]).to_pylist() if role(name) == wanted]
    part = rows.filter(is_one_of(rows["set"], names))
    _, first = np.unique(np.asarray(part["id"]).astype(str), return_index=True)
    return part.take(first)


def check_same(ours: pa.Table, theirs: pa.Table, keys: Sequence[str], other: str) -> None:
    """Raise unless both tables, in the same order, hold the same rows.

    Args:
        ours: Rows of one model.
        theirs: Rows of the other.
        keys: The columns that name a row.
        other: What the other table is, for the message.
    """
    first, second = (list(zip(*(rows[key].to_pylist() for key in keys), strict=True)) for rows in (ours, theirs))
    if first != second:
        differing = sorted(set(first) ^ set(second))
        raise ValueError(
            f"{other} holds other rows: expected the {len(first)} of the model, found {len(second)}; {len(differing)} "
            f"ids are in one of the two alone, first {', '.join('/'.join(key) for key in differing[:3])}. "
            "Score both models on the same rows."
        )
    if "answer" in ours.column_names and "answer" in theirs.column_names:
        _check_answers(first, ours["answer"].to_pylist(), theirs["answer"].to_pylist(), other)


def _check_answers(
    keys: Sequence[tuple[str, ...]], ours: Sequence[str | None], theirs: Sequence[str | None], other: str
) -> None:
    """Rows of logs are numbered: those of one number are the same where the right answer is."""
    for key, answer, found in zip(keys, ours, theirs, strict=True):
        if answer is not None and found is not None and answer != found:
            raise ValueError(
                f"{other} holds other rows: expected row {'/'.join(key)} to ask for {answer!r:.60}, "
                f"found {found!r:.60}. Score both models on the same rows."
            )
