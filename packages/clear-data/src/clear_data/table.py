"""The dataset folder: `rows.parquet`, `sets.json` and, optionally, `subjects.jsonl` and `README.md`."""

import difflib
import json
import shutil
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clear_data.files import fresh_folder, put_in_place, require_replaceable, write_file
from clear_data.schema import COLUMNS, Row, checked_rows, features, validate_rows
from clear_data.splits import validate_sets

if TYPE_CHECKING:
    import datasets
    import pyarrow as pa

ROWS, SETS, SUBJECTS, CARD = "rows.parquet", "sets.json", "subjects.jsonl", "README.md"
_BATCH = 512  # rows in memory while writing


@dataclass(frozen=True)
class RowSets:
    """The rows of a dataset and its sets, which are views by subject.

    Attributes:
        rows: all rows, in the order of the file; pictures are decoded when a row is read.
        sets: name of a set to its subjects.
    """

    rows: "datasets.Dataset"
    sets: dict[str, list[str]]

    def select(self, set_name: str, tasks: Collection[str] | None = None) -> "datasets.Dataset":
        """Give the rows of a set, in the order of the file.

        Args:
            set_name: such as `forget10`.
            tasks: keep these alone, such as `{"qa", "caption"}`; all where None.

        Raises:
            ValueError: there is no such set, or it has no row of these tasks.
        """
        members = frozenset(self._members(set_name))
        pairs = enumerate(self._subjects_and_tasks())
        chosen = [n for n, (subject, task) in pairs if subject in members and (tasks is None or task in tasks)]
        if not chosen:
            asked = "" if tasks is None else f" of task {', '.join(sorted(tasks))}"
            raise ValueError(
                f"set {set_name} has no row{asked}; its rows are of task {', '.join(self.tasks(set_name))}."
            )
        return self.rows.select(chosen)

    def tasks(self, set_name: str) -> list[str]:
        """List the tasks that a set has rows of."""
        members = frozenset(self._members(set_name))
        return sorted({task for subject, task in self._subjects_and_tasks() if subject in members})

    def _subjects_and_tasks(self) -> Iterator[tuple[str, str]]:
        return zip(self.rows["subject"][:], self.rows["task"][:], strict=True)

    def _members(self, set_name: str) -> list[str]:
        if set_name in self.sets:
            return self.sets[set_name]
        near = difflib.get_close_matches(set_name, self.sets, n=3)
        hint = f"; did you mean {' or '.join(near)}?" if near else "."
        raise ValueError(f"there is no set {set_name!r} among {', '.join(sorted(self.sets))}{hint}")


def save(
    folder: Path,
    rows: Iterable[Row],
    sets: Mapping[str, Sequence[str]],
    *,
    subjects: Iterable[Mapping[str, Any]] = (),
    card: str = "",
    overwrite: bool = False,
) -> None:
    """Write a dataset folder. Equal content gives equal bytes.

    Args:
        folder: where to; appears when everything is written.
        rows: checked as they are written; may be a generator.
        sets: name of a set to its subjects.
        subjects: profiles, for `subjects.jsonl`.
        card: text of `README.md`.
        overwrite: replace what is at `folder`.

    Raises:
        ValueError: a row or a set is at fault, or `folder` is taken; it is only replaced when it is a dataset.

    Example:
        >>> import tempfile
        >>> from clear_data.schema import make_row
        >>> folder = Path(tempfile.mkdtemp()) / "data"
        >>> save(folder, [make_row("ada", "qa", 0, "Who?", "Ada.")], {"retain90": ["ada"]})
        >>> load(folder).select("retain90")["answer"][:]
        ['Ada.']
    """
    if folder.exists() and not overwrite:
        raise ValueError(f"{folder} is already there; choose another folder, or --force to replace it.")
    require_replaceable(folder, ROWS)
    unfinished = fresh_folder(folder.with_name(f"{folder.name}.tmp"))
    try:
        write_folder(unfinished, rows, sets, subjects=subjects, card=card)
        put_in_place(unfinished, folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def write_folder(
    folder: Path,
    rows: Iterable[Row],
    sets: Mapping[str, Sequence[str]],
    *,
    subjects: Iterable[Mapping[str, Any]] = (),
    card: str = "",
) -> None:
    """Write the files of a dataset folder straight into an existing `folder`."""
    known: set[str] = set()
    write_rows(folder / ROWS, _noting(checked_rows(rows), known))
    validate_sets(sets, known)
    write_file(folder / SETS, _json({name: list(members) for name, members in sets.items()}, indent=1) + b"\n")
    if profiles := b"".join(_json(dict(subject)) + b"\n" for subject in subjects):
        write_file(folder / SUBJECTS, profiles)
    if card:
        write_file(folder / CARD, card.encode())


def write_rows(path: Path, rows: Iterable[Row]) -> None:
    """Write rows as Parquet whose schema metadata restores the `datasets.Features`."""
    import pyarrow as pa
    from pyarrow import parquet

    schema = features().arrow_schema
    # Rows of one picture follow one another, so that compression stores it once.
    with parquet.ParquetWriter(path, schema, compression="zstd") as writer:
        embedded = map(_embed, rows)
        while batch := list(islice(embedded, _BATCH)):
            writer.write_table(pa.Table.from_pylist(batch, schema=schema))


def load(folder: str | Path) -> RowSets:
    """Read a dataset folder.

    Columns other than those of the schema are left out.

    Raises:
        ValueError: a file is missing, truncated or not of the schema; names the file, and the row where there is one.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise ValueError(f"{folder} is no folder; give one that `clear-data build` or `clear-data read` wrote.")
    table = _read_table(folder / ROWS)
    sets = _read_sets(folder / SETS)
    try:
        validate_rows(_texts(table))
        validate_sets(sets, table["subject"].unique().to_pylist())
    except ValueError as error:
        raise ValueError(f"{folder}: {error}") from None
    import datasets

    return RowSets(datasets.Dataset(table), sets)


def _read_table(path: Path) -> "pa.Table":
    import pyarrow as pa
    from pyarrow import parquet

    _require(path)
    try:
        table = parquet.read_table(path)
    except (pa.ArrowException, OSError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"{path} is truncated or no Parquet file ({reason}); write it anew.") from error
    missing = [column for column in COLUMNS if column not in table.column_names]
    if missing:
        raise ValueError(f"{path} has no column {', '.join(missing)}; it has {', '.join(table.column_names)}.")
    try:
        return table.select(list(COLUMNS)).cast(features().arrow_schema)
    except (pa.ArrowException, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(
            f"{path} has a column of the wrong type ({reason}); see the README for the columns."
        ) from error


def _read_sets(path: Path) -> dict[str, list[str]]:
    _require(path)
    try:
        sets = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is truncated or no JSON ({error}); write it anew.") from error
    lists = sets.values() if isinstance(sets, dict) else [None]
    if not all(isinstance(members, list) and all(isinstance(item, str) for item in members) for members in lists):
        raise ValueError(f'{path} must be an object of lists of subjects, such as {{"forget10": ["amara-okafor"]}}.')
    return dict(sets)


def _require(path: Path) -> None:
    if not path.is_file():
        raise ValueError(f"{path} is missing; a dataset folder holds {ROWS} and {SETS}.")


def _texts(table: "pa.Table") -> Iterator[dict[str, Any]]:
    """Rows without decoding pictures; a picture must be in the file itself, so that no path is ever followed."""
    images = table["image"].combine_chunks() if table["image"].num_chunks != 1 else table["image"].chunk(0)
    embedded = images.field("bytes").is_valid().to_pylist()
    paths = images.field("path").to_pylist()
    texts = table.drop_columns("image").to_pylist()
    for row, present, whole, path in zip(texts, embedded, images.is_valid().to_pylist(), paths, strict=True):
        if whole and not present:
            raise ValueError(
                f"row {row['id']}: its image is the path {path!r}; paths are not followed, embed the bytes."
            )
        yield {**row, "image": b"" if present else None}


def _embed(row: Row) -> dict[str, Any]:
    return {**row, "image": None if row["image"] is None else {"bytes": row["image"], "path": None}}


def _noting(rows: Iterable[Row], subjects: set[str]) -> Iterator[Row]:
    for row in rows:
        subjects.add(row["subject"])
        yield row


def _json(value: Any, *, indent: int | None = None) -> bytes:
    return json.dumps(value, ensure_ascii=False, indent=indent).encode()
