"""Evidence: what one model answered and how probable it found each answer, in two tables and a note on their making.

Scoring a model is slow, so it happens once; every metric is then a function of these tables alone.
"""

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from unlearn_metrics import _tables
from unlearn_metrics._tables import Floats

SCORES_FILE = "scores.parquet"
GENERATIONS_FILE = "generations.parquet"
INFO_FILE = "evidence.json"

MODALITIES = ("text", "image")
KINDS = ("answer", "paraphrase", "perturbed")

_ROW = [("set", pa.string()), ("id", pa.string()), ("subject", pa.string())]
_ROW += [("task", pa.string()), ("modality", pa.string())]

#: One row per scored answer. The lists hold one entry per answer token, the end token included: `logp` is the natural
#: logarithm of the token's probability, `hit` says whether the token was the most probable one, `mean` and `std` are
#: the expectation and the standard deviation of log p at that position, the vocabulary weighted by p.
SCORES_SCHEMA = pa.schema(
    [
        *_ROW,
        ("kind", pa.string()),
        ("index", pa.int32()),
        ("text", pa.string()),
        ("tokens", pa.list_(pa.int32())),
        ("logp", pa.list_(pa.float32())),
        ("hit", pa.list_(pa.bool_())),
        ("mean", pa.list_(pa.float32())),
        ("std", pa.list_(pa.float32())),
    ]
)

#: Columns of the scores that may be left out: the norm of the loss gradient, which is null where `kind` is not `answer`
#: and it was not measured, and `logp` under a reference model.
OPTIONAL_SCORES_SCHEMA = pa.schema([("grad_norm", pa.float32()), ("ref_logp", pa.list_(pa.float32()))])

_NORM = "grad_norm"

#: One row per generated answer; `sample` counts the answers that were drawn for one question.
GENERATIONS_SCHEMA = pa.schema(
    [
        *_ROW,
        ("question", pa.string()),
        ("answer", pa.string()),
        ("keywords", pa.list_(pa.string())),
        ("generated", pa.string()),
        ("sample", pa.int32()),
    ]
)


@dataclass(frozen=True)
class Evidence:
    """The evidence on one model; checked when it is made, so that whoever holds one can rely on it.

    Attributes:
        scores: Table of `SCORES_SCHEMA`, one row per scored answer; at least one row.
        generations: Table of `GENERATIONS_SCHEMA`, one row per generated answer; may be empty, for instance where
            every question is multiple choice.
        info: How the evidence came about: model, template, decoding, dtype, device, versions, seconds, peak memory.

    Raises:
        ValueError: If a column is missing or of another type, a value is null, NaN, infinite or out of range, the lists
            of a row differ in length, or a row occurs twice. The message names file, column, row and remedy.
    """

    scores: pa.Table
    generations: pa.Table
    info: dict[str, Any]

    def __post_init__(self) -> None:
        object.__setattr__(self, "scores", _checked_scores(self.scores))
        object.__setattr__(self, "generations", _checked_generations(self.generations))

    @classmethod
    def read(cls, folder: str | os.PathLike[str]) -> "Evidence":
        """Read and check the evidence in a folder.

        Args:
            folder: Folder that holds `scores.parquet`, `generations.parquet` and `evidence.json`.

        Returns:
            The evidence; integer, float and string columns of another width are cast to the schema's.

        Raises:
            ValueError: If a file is missing, cut short or breaks the schema.
        """
        folder = Path(folder)
        if not folder.is_dir():
            raise ValueError(f"{folder} is no evidence folder: no such folder. Score a model into it first.")
        info = _read_file(folder / INFO_FILE, _read_json)
        scores = _read_file(folder / SCORES_FILE, _read_parquet)
        generations = _read_file(folder / GENERATIONS_FILE, _read_parquet)
        try:
            return cls(scores, generations, info)
        except ValueError as error:
            raise ValueError(f"{folder}/{error}") from None

    def write(self, folder: str | os.PathLike[str]) -> None:
        """Write the three files to `folder`, making it where it does not exist.

        Each file is written beside its destination and renamed. `evidence.json` goes away first and comes back last, so
        a folder that has it is complete.

        Args:
            folder: Where to; evidence that is there already is replaced, other files are left alone.

        Raises:
            ValueError: If `info` cannot be written as JSON.
        """
        import pyarrow.parquet as pq

        info = _to_json(self.info)
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        partials = {name: folder / f".{name}.partial" for name in (SCORES_FILE, GENERATIONS_FILE, INFO_FILE)}
        try:
            pq.write_table(self.scores, partials[SCORES_FILE])
            pq.write_table(self.generations, partials[GENERATIONS_FILE])
            partials[INFO_FILE].write_text(info, encoding="utf-8")
            (folder / INFO_FILE).unlink(missing_ok=True)
            for name, partial in partials.items():
                partial.replace(folder / name)
        finally:
            for partial in partials.values():
                partial.unlink(missing_ok=True)


def _to_json(info: dict[str, Any]) -> str:
    try:
        return json.dumps(info, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    except (TypeError, ValueError) as error:
        raise ValueError(f"{INFO_FILE}: cannot be written as JSON: {error}. Use strings and finite numbers.") from None


def _read_file(path: Path, reader: Callable[[Path], Any]) -> Any:
    if not path.is_file():
        raise ValueError(f"{path} is missing: no evidence, or its writing was cut off. Score the model again.")
    try:
        return reader(path)
    except (pa.ArrowException, OSError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"{path} cannot be read, it may be cut short ({reason}). Score the model again.") from None


def _read_json(path: Path) -> dict[str, Any]:
    info = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(info, dict):
        raise ValueError(f"expected a JSON object, got {type(info).__name__}")
    return info


def _read_parquet(path: Path) -> pa.Table:
    import pyarrow.parquet as pq

    # A file handle rather than a path: a path may be taken for a partitioned data set, which adds columns.
    with path.open("rb") as file:
        return pq.read_table(file)


def _finite_up_to_zero(values: Floats) -> NDArray[np.bool_]:
    return np.isfinite(values) & (values <= 0)


def _finite_from_zero(values: Floats) -> NDArray[np.bool_]:
    return np.isfinite(values) & (values >= 0)


_RANGES: list[tuple[str, str, Callable[[Floats], NDArray[np.bool_]]]] = [
    ("logp", "finite and at most 0", _finite_up_to_zero),
    ("ref_logp", "finite and at most 0", _finite_up_to_zero),
    ("mean", "finite", np.isfinite),
    ("std", "finite and at least 0", _finite_from_zero),
]


def _checked_scores(table: pa.Table) -> pa.Table:
    given = table
    optional = [field for field in OPTIONAL_SCORES_SCHEMA if field.name in given.column_names]
    always = [field for field in optional if field.name != _NORM]
    table = _tables.conform(given, pa.schema([*SCORES_SCHEMA, *always]), SCORES_FILE)
    if not table.num_rows:
        raise ValueError(f"{SCORES_FILE}: has no rows, so there is nothing to measure. Score at least one answer.")
    _tables.check_choices(table, SCORES_FILE, "modality", MODALITIES)
    _tables.check_choices(table, SCORES_FILE, "kind", KINDS)
    _tables.check_unique(table, SCORES_FILE, ["set", "id", "kind", "index"])
    _tables.check_index(table, SCORES_FILE)
    _tables.check_lengths(table, SCORES_FILE, [field.name for field in table.schema if pa.types.is_list(field.type)])
    for name, wanted, good in _RANGES:
        _tables.check_numbers(table, SCORES_FILE, name, wanted, good)
    if _NORM in given.column_names:
        table = table.append_column(OPTIONAL_SCORES_SCHEMA.field(_NORM), _checked_norms(given))
    return table.select([*SCORES_SCHEMA.names, *(field.name for field in optional)])


def _checked_norms(table: pa.Table) -> pa.ChunkedArray:
    """The column of gradient norms, which has to be there for right answers alone."""
    needed = pc.or_(pc.equal(table["kind"], "answer"), pc.is_valid(table[_NORM]))
    measured = table.filter(needed)
    measured = _tables.conform(measured, pa.schema([("id", pa.string()), (_NORM, pa.float32())]), SCORES_FILE)
    _tables.check_numbers(measured, SCORES_FILE, _NORM, "finite and at least 0", _finite_from_zero)
    return table[_NORM].cast(pa.float32())


def _checked_generations(table: pa.Table) -> pa.Table:
    table = _tables.conform(table, GENERATIONS_SCHEMA, GENERATIONS_FILE)
    _tables.check_choices(table, GENERATIONS_FILE, "modality", MODALITIES)
    _tables.check_unique(table, GENERATIONS_FILE, ["set", "id", "sample"])
    return table
