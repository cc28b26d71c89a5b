"""Checks a dataset folder: rows, sets and every picture."""

from collections import Counter
from pathlib import Path
from typing import NamedTuple

from clear_data.photos import decode
from clear_data.pictures import pictures
from clear_data.table import RowSets, load


class Checked(NamedTuple):
    """What a dataset folder was found to hold."""

    rows: int
    images: int
    tasks: dict[str, int]
    sets: dict[str, int]
    faults: list[str]
    """what is odd but does no harm to reading: wrong answers that are right, for one"""


def check(folder: str | Path) -> Checked:
    """Check a dataset folder.

    Raises:
        ValueError: a file, row, set or picture is at fault; the message names it.
    """
    return check_rows(load(folder))


def check_rows(data: RowSets) -> Checked:
    """Check a dataset that has been loaded, as `check` does."""
    return Checked(
        rows=len(data.rows),
        images=_check_images(data),
        tasks=dict(Counter(data.rows["task"][:])),
        sets={name: len(members) for name, members in data.sets.items()},
        faults=_answer_faults(data),
    )


def _check_images(data: RowSets) -> int:
    """Decode each picture once; return how many different ones there are."""
    count = 0
    for picture in pictures(data.rows):
        try:
            decode(picture.content)
        except ValueError as error:
            raise ValueError(f"row {picture.row}: {error}; mend or remove it.") from None
        count += 1
    return count


def _answer_faults(data: RowSets) -> list[str]:
    faults = []
    for row in data.rows.remove_columns("image").to_list():
        right = {row["answer"], row["paraphrased_answer"]}
        if right & set(row["perturbed_answers"]):
            faults.append(f"row {row['id']}: a perturbed answer is the right one.")
        if len(set(row["perturbed_answers"])) < len(row["perturbed_answers"]):
            faults.append(f"row {row['id']}: a perturbed answer occurs twice.")
        if row["options"] is not None and len(set(row["options"])) < len(row["options"]):
            faults.append(f"row {row['id']}: an option occurs twice.")
    return faults
