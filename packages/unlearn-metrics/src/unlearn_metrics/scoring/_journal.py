"""What a run has done so far, on disk in shards, so that a run that was cut off goes on where it stopped."""

import json
import logging
import shutil
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from unlearn_metrics.scoring._processes import Processes

#: Where it is, inside the folder that the evidence goes to.
FOLDER = ".unfinished"
MANIFEST = "manifest.json"
# How long a shard is gathered: what a kill can cost.
_SECONDS = 20.0
_LOG = logging.getLogger(__name__)


class Journal:
    """Shards of the results of one run's jobs, and a manifest of what they were made from.

    Shards hold the column `number`, which says what was done; who did it does not matter, so a run may go on with
    another number of processes.

    Args:
        folder: Where evidence goes; shards are in a folder inside it.
        inputs: What the results depend on, as hashes by name. Where a manifest has others, its shards are removed.
        processes: Who works on it; all of them must make their journal at the same time.
    """

    def __init__(self, folder: Path, inputs: Mapping[str, str], processes: Processes) -> None:
        self.folder, self.processes = folder / FOLDER, processes
        if processes.rank == 0:
            self._begin(dict(inputs))
        processes.wait()

    def _begin(self, inputs: dict[str, str]) -> None:
        manifest = self.folder / MANIFEST
        known = read_inputs(manifest)
        if known == inputs:
            _LOG.warning("%s: going on where an earlier run stopped.", self.folder.parent)
            return
        if known is not None:
            changed = ", ".join(name for name in inputs if known.get(name) != inputs[name])
            _LOG.warning("%s: starting afresh, as an earlier run had other inputs (%s).", self.folder.parent, changed)
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        partial = manifest.with_suffix(".partial")
        partial.write_text(json.dumps({"inputs": inputs}, indent=2) + "\n", encoding="utf-8")
        partial.replace(manifest)

    def done(self, job: str) -> set[int]:
        """Return the numbers of what has been done of a job."""
        return {number for shard in self._shards(job) for number in _read(shard, [0])["number"].to_pylist()}

    def record(self, job: str, results: Iterator[pa.Table]) -> None:
        """Take the results of a job as they come and write them in shards; what there is is kept whatever happens."""
        shard: _Shard | None = None
        closed = time.monotonic()
        try:
            for table in results:
                shard = shard or _Shard(self._next(job), table.schema)
                shard.write(table)
                if time.monotonic() - closed >= _SECONDS:
                    shard.close()
                    shard, closed = None, time.monotonic()
        finally:
            if shard:
                shard.close()

    def table(self, job: str, schema: pa.Schema, numbers: list[int]) -> pa.Table:
        """Return all results of a job, of every process, in the order of their numbers.

        Raises:
            ValueError: If they are not those of `numbers`, each once.
        """
        table = pa.concat_tables([schema.empty_table(), *map(_read, self._shards(job))])
        table = table.take(pc.sort_indices(table["number"]))
        if table["number"].to_pylist() != numbers:
            raise ValueError(
                f"{self.folder} does not hold every result of `{job}` once: another run wrote there. Remove it."
            )
        return table

    def remove(self) -> None:
        """Remove what is no longer needed."""
        shutil.rmtree(self.folder)

    def _next(self, job: str) -> Path:
        mine = f"{job}-{self.processes.rank}"
        return self.folder / f"{mine}-{len(list(self.folder.glob(f'{mine}-*.arrow'))):06}.arrow"

    def _shards(self, job: str) -> list[Path]:
        return sorted(self.folder.glob(f"{job}-*.arrow"))


class _Shard:
    """A file of tables, written as they come, since small ones that are kept leave a process's memory in pieces.

    It gets its name when it is closed.
    """

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self._path, self._partial = path, path.with_suffix(".partial")
        self._file = pa.ipc.new_file(self._partial, schema)

    def write(self, table: pa.Table) -> None:
        self._file.write_table(table)

    def close(self) -> None:
        self._file.close()
        self._partial.replace(self._path)


def read_inputs(path: Path) -> dict[str, str] | None:
    """Return the inputs that a manifest or a note on evidence names; None where there is no such file."""
    try:
        inputs = json.loads(path.read_text(encoding="utf-8")).get("inputs")
    except (OSError, ValueError, AttributeError):
        return None
    return inputs if isinstance(inputs, dict) else None


def _read(path: Path, columns: list[int] | None = None) -> pa.Table:
    options = pa.ipc.IpcReadOptions(included_fields=columns)
    # Not mapped: another process may remove the file while this one still has its rows.
    with path.open("rb") as file, pa.ipc.open_file(file, options=options) as shard:
        return shard.read_all()
