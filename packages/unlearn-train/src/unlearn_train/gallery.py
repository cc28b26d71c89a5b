"""What the models answer about a few subjects: the part of a report that people look at first."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unlearn_train.data import RowSets

if TYPE_CHECKING:
    from unlearn_metrics import Evidence
    from unlearn_metrics.report import GalleryItem

GROUPS = {"forget": "forgotten", "retain": "kept"}
SUBJECTS = 2
"""shown of each group"""


def gallery(evidence: Mapping[str, "Evidence"], data: Path) -> list["GalleryItem"]:
    """Show a photograph and a fact of a few subjects, forgotten and kept, with every model's answers.

    Args:
        evidence: by state; all were asked the same rows.
        data: the dataset folder that the rows came from.
    """
    from unlearn_metrics.report import GalleryItem

    asked = {state: _answers(found) for state, found in evidence.items()}
    first = next(iter(evidence.values()))
    chosen = [row for shown in GROUPS for row in _chosen(first, shown)]
    subjects = {row["subject"] for row in chosen}
    images = {row["id"]: row["image"] for row in RowSets.read(data).of_subjects(subjects)}
    return [
        GalleryItem(
            subject=row["subject"],
            group=GROUPS[row["set"]],  # type: ignore[arg-type]  # its two values
            question=row["question"],
            expected=row["answer"],
            answers={state: answers[row["set"], row["id"]] for state, answers in asked.items()},
            image=images[row["id"]],
        )
        for row in chosen
    ]


def _answers(evidence: "Evidence") -> dict[tuple[str, str], str]:
    columns = (evidence.generations.column(name).to_pylist() for name in ("set", "id", "generated"))
    return {(shown, row): text for shown, row, text in zip(*columns, strict=True)}


def _chosen(evidence: "Evidence", shown: str) -> list[dict[str, Any]]:
    """The first row of each task of the first subjects of a set."""
    rows = [row for row in evidence.generations.to_pylist() if row["set"] == shown]
    subjects = sorted({row["subject"] for row in rows})[:SUBJECTS]
    first: dict[tuple[str, str], dict[str, Any]] = {}
    for row in sorted(rows, key=lambda row: str(row["id"])):
        if row["subject"] in subjects:
            first.setdefault((row["subject"], row["task"]), row)
    return list(first.values())
