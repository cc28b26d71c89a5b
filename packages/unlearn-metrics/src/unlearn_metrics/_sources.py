"""Where numbers come from: a folder of evidence or an evaluation log, recognized by what is there."""

import os
from collections.abc import Sequence
from pathlib import Path

from unlearn_metrics.evidence import GENERATIONS_FILE, INFO_FILE, SCORES_FILE, Evidence
from unlearn_metrics.logs import COMMON_NAMES, Log, read_log


def read(path: str | os.PathLike[str]) -> Evidence | Log:
    """Read evidence or an evaluation log.

    Args:
        path: A folder of evidence, a log file of TOFU or OpenUnlearning, or a folder that holds one such log.

    Returns:
        What `compute`, `paired` and `row_metrics` take.

    Raises:
        ValueError: If there is nothing, or what is there is neither of them, cut short or damaged.
    """
    path = Path(path)
    if not path.exists():
        raise ValueError(f"{path} is not there. Give a folder of evidence, or an evaluation log.")
    if any((path / name).is_file() for name in (INFO_FILE, SCORES_FILE, GENERATIONS_FILE)):
        return Evidence.read(path)
    return read_log(path)


def names(paths: Sequence[Path]) -> list[str]:
    """Names of the models, or the whole paths where those are not distinct."""
    short = [name(path) for path in paths]
    found = short if len(set(short)) == len(short) else [str(path) for path in paths]
    if len(set(found)) < len(found):
        raise ValueError("the same evidence is given twice. Give each folder once.")
    return found


def name(path: Path) -> str:
    """What to call a model: its folder, or its log where the log's name is one of its own."""
    path = path.resolve()
    return path.parent.name if path.name in COMMON_NAMES else path.name.removesuffix(".json")
