"""Which rows of a large set are asked."""

from collections.abc import Sequence
from hashlib import blake2b

from unlearn_train.data import Row


def sample_rows(rows: Sequence[Row], limit: int, *, seed: int) -> list[Row]:
    """Choose whole subjects until their rows would exceed `limit`; always at least one.

    Rows that have perturbed answers or options are preferred to those that have neither, since more can be asked of
    them. The choice depends on the subjects' names and the seed, not on the order of the rows.

    Args:
        rows: of one set.
        limit: of the number of rows.
        seed: of the choice.
    """
    full = [row for row in rows if row["perturbed_answers"] or row["options"]]
    by_subject: dict[str, list[Row]] = {}
    for row in full or rows:
        by_subject.setdefault(row["subject"], []).append(row)
    chosen: list[Row] = []
    for subject in sorted(by_subject, key=lambda name: blake2b(f"{seed}:{name}".encode()).digest()):
        if chosen and len(chosen) + len(by_subject[subject]) > limit:
            break
        chosen += by_subject[subject]
    return sorted(chosen, key=lambda row: row["id"])
