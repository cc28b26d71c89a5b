"""The files of MLLMU-Bench, record by record: Parquet or JSON in a folder, or a dataset on the hub."""

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

Read = Callable[[str, bool], Iterator["Record"]]
"""From the name of a configuration, and whether pictures are wanted, to its records; none where it is not there."""


class Record(NamedTuple):
    """A record and where it stands, for messages."""

    where: str
    content: Mapping[str, Any]
    image: bytes | None
    """its picture, encoded; None where it has none, or none was wanted"""


def folder_reader(folder: Path) -> Read:
    """Read the configurations that lie in `folder`."""

    def read(name: str, pictures: bool) -> Iterator[Record]:
        found = sorted(folder.glob(f"{name}/*.parquet"))
        if not found:
            found = [path for suffix in (".json", ".jsonl") if (path := folder / f"{name}{suffix}").is_file()][:1]
        for path in found:
            records = _parquet(path, pictures) if path.suffix == ".parquet" else _json(path)
            for number, content in enumerate(records, start=1):
                where = f"{path}, record {number}"
                yield Record(where, content, _picture(where, content, folder) if pictures else None)

    return read


def hub_reader(source: str) -> Read:
    """Read the configurations of a dataset on the hub.

    Raises:
        ValueError: the hub gives no such dataset.
    """
    import datasets

    try:
        configurations = datasets.get_dataset_config_names(source)
    except Exception as error:  # the hub's own errors are many
        reason = str(error).splitlines()[0]
        raise ValueError(f"{source} is neither a folder nor a dataset that the hub gives ({reason}).") from error

    def read(name: str, pictures: bool) -> Iterator[Record]:
        if name not in configurations:
            return
        table = datasets.load_dataset(source, name, split="train")
        table = table.cast_column("image", datasets.Image(decode=False)) if pictures else table.select_columns(["ID"])
        for number, content in enumerate(table, start=1):
            stored = content["image"]["bytes"] if pictures and content["image"] else None
            yield Record(f"{source} {name}, record {number}", content, stored)

    return read


def _parquet(path: Path, pictures: bool) -> Iterator[Mapping[str, Any]]:
    import pyarrow as pa
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(path) as file:
            missing = [name for name in ("ID", *(["image"] if pictures else [])) if name not in file.schema_arrow.names]
            if missing:
                raise ValueError(f"{path} has no column {', '.join(missing)}; it has {file.schema_arrow.names}.")
            for batch in file.iter_batches(64, columns=None if pictures else ["ID"]):
                yield from batch.to_pylist()
    except (pa.ArrowException, OSError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"{path} is truncated or no Parquet file ({reason}); fetch it again.") from error


def _json(path: Path) -> Iterator[Mapping[str, Any]]:
    text = path.read_text(encoding="utf-8")
    try:
        lines = [line for line in text.splitlines() if line.strip()]
        found = [json.loads(line) for line in lines] if path.suffix == ".jsonl" else json.loads(text)
    except ValueError as error:
        raise ValueError(f"{path} is cut off or no JSON ({error}); mend it or fetch it again.") from None
    if not isinstance(found, list) or not all(isinstance(record, dict) for record in found):
        raise ValueError(f"{path} must hold a list of records, one a person.")
    yield from found


def _picture(where: str, content: Mapping[str, Any], folder: Path) -> bytes | None:
    """The bytes that are stored, or those of a file within the folder."""
    stored = content.get("image")
    if isinstance(stored, Mapping):
        stored = stored.get("bytes") or stored.get("path")
    if stored is None or isinstance(stored, bytes):
        return stored
    path = (folder / str(stored)).resolve()
    if not path.is_relative_to(folder.resolve()):
        raise ValueError(f"{where}: its picture {stored!r} is outside the folder; such paths are not followed.")
    if not path.is_file():
        raise ValueError(f"{where}: its picture {stored!r} is not there; fetch it again.")
    return path.read_bytes()
