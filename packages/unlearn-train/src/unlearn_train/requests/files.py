"""Which files a folder holds, and whether they are what was noted."""

import re
import shutil
from collections.abc import Collection, Mapping
from pathlib import Path

from unlearn_train.datasource import digest
from unlearn_train.stages import RECORD


def files_of(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of every file in a stage's folder, the stage's own record apart."""
    return {name: value for name, value in digest(folder).items() if name != RECORD}


def check_files(folder: Path, noted: Mapping[str, str], *, only: str | None = None) -> None:
    """Check that files are what was noted when they were made.

    Raises:
        ValueError: one was altered, added or removed; the message names it.
    """
    wanted = {only: noted[only]} if only else dict(noted)
    try:
        found = digest(folder, (only,)) if only else files_of(folder)
    except FileNotFoundError:
        found = {}
    different = sorted(name for name in wanted.keys() | found.keys() if wanted.get(name) != found.get(name))
    if different:
        name = different[0]
        what = "was altered" if name in wanted and name in found else "is gone" if name in wanted else "was added"
        raise ValueError(
            f"{folder / name} {what} since the ledger noted it; bring the folder back from a backup, or roll back to "
            "a state whose files are whole: what was served after it is then queued again."
        )


def clear_abandoned(folder: Path, in_use: Collection[str]) -> None:
    """Remove what is left of attempts that nobody goes on with: checkpoints, and models that were never noted.

    Args:
        folder: of the ledger.
        in_use: the states that were made or are planned.
    """
    for path in [*folder.glob("models/*"), *folder.glob("evidence/*")]:
        found = re.fullmatch(r"\.?(s\d+)(\.partial|\.old)?", path.name)
        if found and found[1] not in in_use:
            shutil.rmtree(path)
