"""Files of logs, recognized by what they hold."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

import pyarrow.compute as pc

from unlearn_metrics.logs._log import Log
from unlearn_metrics.logs._openunlearning import is_openunlearning, read_openunlearning
from unlearn_metrics.logs._tofu import is_tofu, read_tofu

_EXPECTED = (
    "expected a TOFU log (eval_log_aggregated.json, with `eval_log_forget.json`, …) or an OpenUnlearning log "
    "(TOFU_EVAL.json, with `forget_Q_A_Prob`, …)"
)
#: What toolkits call the log of every model: its folder says which it is.
COMMON_NAMES = ("TOFU_EVAL.json", "eval_log_aggregated.json")


def read_log(path: str | os.PathLike[str]) -> Log:
    """Read an evaluation log of TOFU or of OpenUnlearning, as far as it goes.

    What the log does not hold, token log-probabilities above all, is null in its rows. Sets are named `forget`,
    `retain`, `real_authors`, `world_facts` and, where membership attacks are logged, `holdout`.

    Args:
        path: The log file, or a folder that holds one.

    Returns:
        The rows of all sets.

    Raises:
        ValueError: If there is no such file, it is of another format or cut short, or a number is NaN or impossible.
            The message says what was expected and what was found.
    """
    path = Path(path)
    if path.is_dir():
        return _only_log(path)
    if not path.is_file():
        raise ValueError(f"{path} is not there. Give an evaluation log, or the folder that holds one.")
    return _parsed(_read_json(path), path)


def _parsed(content: Mapping[str, Any], path: Path) -> Log:
    if is_tofu(content):
        return Log(_sorted(read_tofu(content, str(path))), f"TOFU log {path}")
    if is_openunlearning(content):
        return Log(_sorted(read_openunlearning(content, str(path))), f"OpenUnlearning log {path}")
    raise ValueError(f"{path}: {_EXPECTED}, found {_keys(content)}.")


def _only_log(folder: Path) -> Log:
    """The one log of a folder; summaries and other JSON files beside it are left aside."""
    files = sorted(folder.glob("*.json"))
    if len(files) == 1:
        return read_log(files[0])
    contents = {path: _content(path) for path in files}
    logs = {path: content for path, content in contents.items() if content is not None}
    if len(logs) > 1:
        raise ValueError(f"{folder} holds {len(logs)} logs: {', '.join(path.name for path in logs)}. Name one of them.")
    if not logs:
        found = ", ".join(path.name for path in files) or "no JSON file"
        raise ValueError(
            f"{folder}: expected evidence (evidence.json, scores.parquet) or an evaluation log, found {found}."
        )
    ((path, content),) = logs.items()
    return _parsed(content, path)


def _content(path: Path) -> Mapping[str, Any] | None:
    """What a log holds; None where the file is something else."""
    try:
        content = _read_json(path)
    except ValueError:
        if path.name in COMMON_NAMES:
            raise
        return None
    return content if is_log(content) else None


def is_log(content: Mapping[str, Any]) -> bool:
    """Whether the content of a JSON file is that of a log."""
    return is_tofu(content) or is_openunlearning(content)


def _read_json(path: Path) -> Mapping[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"), parse_constant=_refuse)
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(
            f"{path}: expected a whole JSON file, found one that is cut short or none ({error})."
        ) from None
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    if not isinstance(content, Mapping):
        raise ValueError(f"{path}: {_EXPECTED}, found a JSON {type(content).__name__}.")
    return content


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"expected finite numbers, found {constant}. Evaluate the model again.")


def _keys(content: Mapping[str, Any]) -> str:
    names = [f"`{name}`" for name in content]
    return "an empty object" if not names else f"{', '.join(names[:4])}{', …' if len(names) > 4 else ''}"


def _sorted(rows: Any) -> Any:
    return rows.take(pc.sort_indices(rows, sort_keys=[("set", "ascending"), ("id", "ascending")]))
