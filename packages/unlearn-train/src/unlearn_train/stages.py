"""A run as a graph of stages: each result is made once, again only when something upstream changed, and never half.

A stage fills a folder beside its destination, which is then renamed. Its record, `stage.json`, holds the key that says
what it was made from, the seconds and the peak memory.
"""

import contextlib
import gc
import json
import os
import resource
import shutil
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b
from pathlib import Path
from typing import Any

from unlearn_train import launching
from unlearn_train.extras import installed_version

RECORD = "stage.json"
RESUME = "training"
"""folder in a result that is being made, for what a training that was cut off goes on from; removed when it is made"""
VERSIONED = (
    "unlearn-core",
    "unlearn-train",
    "accelerate",
    "deepspeed",
    "peft",
    "pillow",
    "tokenizers",
    "torch",
    "transformers",
)


@dataclass(frozen=True)
class Stage:
    """One result of a run."""

    name: str
    """its folder in the run, such as `models/target`"""
    make: Callable[[Path], None]
    """fills the folder that it is given"""
    options: Mapping[str, Any]
    """all that the result depends on, inputs apart; anything JSON can say"""
    inputs: tuple["Stage", ...] = ()
    """stages whose results `make` reads"""
    packages: tuple[str, ...] = VERSIONED
    """distributions whose versions the result depends on"""

    @property
    def by_all(self) -> bool:
        """Whether all processes make it together, as they do models; else the first does, and the others wait."""
        return self.name.startswith("models/")

    @cached_property
    def key(self) -> str:
        """A digest of everything upstream of the result."""
        upstream = [
            self.name,
            self.options,
            {name: installed_version(name) for name in self.packages},
            [stage.key for stage in self.inputs],
        ]
        return blake2b(json.dumps(upstream, sort_keys=True).encode(), digest_size=16).hexdigest()


@dataclass(frozen=True)
class Run:
    """A folder that holds the results of stages."""

    folder: Path
    quiet: bool = False

    def make(self, stages: list[Stage]) -> None:
        """Make every result that is not there yet, inputs before what they are inputs of.

        Args:
            stages: in an order in which each comes after its inputs.
        """
        for number, stage in enumerate(stages, 1):
            said = f"[{number}/{len(stages)}] {stage.name}"
            if launching.agree(launching.rank() == 0 and self.record(stage) is not None):
                self._say(f"{said}: there already")
                continue
            self._say(f"{said} ...")
            started = time.perf_counter()
            self._make(stage)
            self._say(f"{said}: {time.perf_counter() - started:.1f} s")

    def path(self, stage: Stage) -> Path:
        """Return the folder of a stage's result."""
        return self.folder / stage.name

    def record(self, stage: Stage) -> dict[str, Any] | None:
        """Return what is noted about a stage's result; None where it is not there or was made from something else."""
        destination = self.path(stage)
        _mend(destination)
        try:
            record: dict[str, Any] = json.loads((destination / RECORD).read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError):
            return None
        return record if isinstance(record, dict) and record.get("key") == stage.key else None

    def _make(self, stage: Stage) -> None:
        destination = self.path(stage)
        partial = _beside(destination, "partial")
        if launching.rank() == 0:
            _begin(partial, stage.key)
        launching.agree(None)
        _reset_peak_memory()
        started = time.perf_counter()
        if launching.rank() == 0 or stage.by_all:
            stage.make(partial)
        if launching.rank() > 0:
            return
        shutil.rmtree(partial / RESUME, ignore_errors=True)
        record = {
            "key": stage.key,
            "seconds": round(time.perf_counter() - started, 3),
            "peak_memory_bytes": peak_memory(),
        }
        (partial / RECORD).write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
        (partial / "key").unlink()
        _settle(*partial.rglob("*"), partial)
        _replace(destination, partial)
        _settle(destination.parent, self.folder)

    def _say(self, text: str) -> None:
        if not self.quiet and sys.stderr.isatty():
            print(text, file=sys.stderr, flush=True)


def _beside(path: Path, suffix: str) -> Path:
    return path.with_name(f".{path.name}.{suffix}")


def _begin(partial: Path, key: str) -> None:
    """What a killed run left is kept only where it was made from the same things: the stage may go on from it."""
    partial.mkdir(parents=True, exist_ok=True)
    if not _is_key(partial, key):
        shutil.rmtree(partial)
        partial.mkdir()
        (partial / "key").write_text(key, encoding="utf-8")


def _is_key(partial: Path, key: str) -> bool:
    path = partial / "key"
    return path.is_file() and path.read_text(encoding="utf-8") == key


def _mend(destination: Path) -> None:
    """A kill in the midst of `_replace` leaves the old result beside its place, whether or not the new one is there."""
    old = _beside(destination, "old")
    if old.exists() and destination.exists():
        shutil.rmtree(old)
    elif old.exists():
        old.rename(destination)


def _settle(*paths: Path) -> None:
    """Have the disk hold files and folders, so that not even a power failure leaves a name without its content."""
    for path in paths if os.name == "posix" else ():  # elsewhere folders cannot be opened
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _replace(destination: Path, partial: Path) -> None:
    _mend(destination)
    old = _beside(destination, "old")
    if destination.exists():
        destination.rename(old)
    partial.rename(destination)
    if old.exists():
        shutil.rmtree(old)


def _reset_peak_memory() -> None:
    """Make the next `peak_memory` count from now on, where the system can (Linux) and on the accelerator."""
    gc.collect()  # a trainer and its callbacks hold one another, and the model
    if Path("/proc/self/clear_refs").exists():
        with contextlib.suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def peak_memory() -> int:
    """Return bytes: the accelerator's peak where there is one, else the process's."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        return int(torch.cuda.max_memory_allocated())
    status = Path("/proc/self/status")
    if status.exists():
        line = next(
            (line for line in status.read_text(encoding="ascii").splitlines() if line.startswith("VmHWM")), None
        )
        if line is not None:
            return int(line.split()[1]) * 1024
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
