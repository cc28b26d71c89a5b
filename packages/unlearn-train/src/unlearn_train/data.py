"""Reads a dataset folder: `rows.parquet` and `sets.json`, whoever wrote them.

The columns are those of the rows' contract (see the design page of the documentation).
"""

import difflib
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from itertools import combinations
from pathlib import Path
from typing import Any

import datasets
import pyarrow
import pyarrow.parquet
from PIL import Image

Row = Mapping[str, Any]
COLUMNS = (
    "id",
    "subject",
    "task",
    "image",
    "question",
    "answer",
    "paraphrased_question",
    "paraphrased_answer",
    "perturbed_answers",
    "options",
    "keywords",
)
FILLED = ("id", "subject", "task", "question", "answer")


@dataclass(frozen=True)
class RowSets:
    """The rows of a dataset folder and its sets, which are views by subject."""

    rows: datasets.Dataset
    sets: Mapping[str, Sequence[str]]

    @classmethod
    def read(cls, folder: Path) -> "RowSets":
        """Read a dataset folder.

        Raises:
            ValueError: a file is missing, cut short or of another form; the message names it.
        """
        rows = _read_rows(folder / "rows.parquet")
        sets = _read_sets(folder / "sets.json")
        return cls(rows, sets)

    @property
    def has_images(self) -> bool:
        """Whether any row has an image."""
        return bool(self.rows.data.column("image").null_count < len(self.rows))

    def select(self, name: str, tasks: Collection[str] | None = None) -> list[Row]:
        """Return the rows of one set, in the order of their ids.

        Args:
            name: of the set, such as `forget10`.
            tasks: keep these alone, such as `{"qa", "caption"}`; all where None.

        Raises:
            ValueError: there is no such set, or it has no such row.
        """
        return self.of_subjects(self._members(name), tasks, what=f"set `{name}`")

    def require_apart(self, forget: str, retain: str) -> None:
        """Check that nobody who is to be forgotten is kept, and that nobody held out is either.

        Raises:
            ValueError: there is no such set, or two of them share subjects.
        """
        held_out = ["holdout"] if "holdout" in self.sets else []
        for one, other in combinations([forget, retain, *held_out], 2):
            shared = sorted(self._members(one) & self._members(other))
            if shared:
                raise ValueError(
                    f"the sets `{one}` and `{other}` share {len(shared)} subjects, {shared[0]} among them; choose sets "
                    "that are apart, such as forget10 and retain90."
                )

    def of_subjects(
        self, subjects: Collection[str], tasks: Collection[str] | None = None, *, what: str = "request"
    ) -> list[Row]:
        """Return the rows about `subjects`, in the order of their ids.

        Raises:
            ValueError: no row is about them.
        """
        subjects = frozenset(subjects)
        keys = zip(self.rows["id"], self.rows["subject"], self.rows["task"], strict=True)
        chosen = sorted(
            (key, n)
            for n, (key, subject, task) in enumerate(keys)
            if subject in subjects and (tasks is None or task in tasks)
        )
        if not chosen:
            raise ValueError(
                f"{what} has no row{'' if tasks is None else ' of task ' + ', '.join(sorted(tasks))}; nothing can be "
                "learnt, forgotten or measured on it."
            )
        images: dict[bytes, Image.Image] = {}  # rows share photographs
        return [_decoded(row, images) for row in self.rows.select([n for _, n in chosen])]

    def _members(self, name: str) -> frozenset[str]:
        if name not in self.sets:
            near = difflib.get_close_matches(name, self.sets, 1)
            hint = f"did you mean `{near[0]}`? " if near else ""
            raise ValueError(f"there is no set `{name}` in this data; {hint}it has {', '.join(sorted(self.sets))}.")
        return frozenset(self.sets[name])


def _read_rows(path: Path) -> datasets.Dataset:
    if not path.is_file():
        raise ValueError(
            f"{path} is not there; a dataset folder holds rows.parquet and sets.json (`clear-data build` or "
            "`clear-data read` writes one)."
        )
    try:
        table = pyarrow.parquet.read_table(path, memory_map=True)
    except (pyarrow.ArrowInvalid, OSError) as error:
        raise ValueError(f"{path} cannot be read as Parquet, it may be cut short ({error}); write it again.") from error
    missing = [column for column in COLUMNS if column not in table.column_names]
    if missing:
        raise ValueError(f"{path} lacks the column {', '.join(missing)}; it has {', '.join(table.column_names)}.")
    if table.num_rows == 0:
        raise ValueError(f"{path} has no row; nothing can be learnt or measured on it.")
    for column in FILLED:
        if not _is_text(table.schema.field(column).type) or table.column(column).null_count:
            raise ValueError(f"the column {column} of {path} must hold text in every row; write the file again.")
    try:
        # Not decoded by `datasets`, which would follow a path out of the folder.
        return datasets.Dataset(table).cast_column("image", datasets.Image(decode=False))
    except (pyarrow.ArrowException, TypeError, ValueError) as error:
        raise ValueError(f"the column image of {path} holds no images ({error}); write the file again.") from error


def _is_text(kind: pyarrow.DataType) -> bool:
    return bool(pyarrow.types.is_string(kind) or pyarrow.types.is_large_string(kind))


def _read_sets(path: Path) -> dict[str, list[str]]:
    try:
        sets = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ValueError(f"{path} is not there; it names the subjects of every set.") from None
    except ValueError as error:
        raise ValueError(f"{path} is no JSON ({error}); write it again.") from error
    if not isinstance(sets, dict) or not all(map(_is_names, sets.values())):
        raise ValueError(f'{path} must map every set to a list of subjects, as {{"forget10": ["subject"]}}.')
    return sets


def _is_names(subjects: Any) -> bool:
    return isinstance(subjects, list) and all(isinstance(subject, str) for subject in subjects)


def _decoded(row: Row, images: dict[bytes, Image.Image]) -> Row:
    stored = row["image"]
    if stored is None:
        return row
    if stored["bytes"] is None:
        raise ValueError(
            f"the image of row {row['id']} is not in the file but at {stored['path']!r}, and paths in data are not "
            "followed; put the image's bytes into the row."
        )
    data: bytes = stored["bytes"]
    if data not in images:
        try:
            images[data] = Image.open(BytesIO(data)).convert("RGB")
        except Exception as error:  # the decoders raise whatever they stumble over
            raise ValueError(
                f"the image of row {row['id']} cannot be read ({error}); mend or remove the row."
            ) from error
    return {**row, "image": images[data]}
