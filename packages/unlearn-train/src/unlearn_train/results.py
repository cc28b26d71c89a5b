"""The numbers of a run, and its report."""

import json
import platform
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from unlearn_train import options
from unlearn_train.experiment import Experiment
from unlearn_train.extras import installed_version
from unlearn_train.gallery import gallery
from unlearn_train.stages import RECORD, Stage

if TYPE_CHECKING:
    from unlearn_metrics import Evidence

REPORTED = ("clear-data", "unlearn-core", "unlearn-metrics", "unlearn-train", "datasets", "torch", "transformers")


def write_results(experiment: Experiment, folder: Path, stages: Sequence[Stage]) -> dict[str, Any]:
    """Compute every number of a finished run, and write `results.json` and `report.html`.

    Nothing is computed again where both files are there and were made from the same stages.

    Returns:
        What `results.json` holds.
    """
    path, report = folder / "results.json", folder / "report.html"
    key, known = made_before(folder, stages)
    if known is not None and report.exists():
        return known
    from unlearn_metrics import Evidence
    from unlearn_metrics.report import write_report

    evidence = {state: Evidence.read(folder / "evidence" / state) for state in experiment.states}
    results = _compute(evidence)
    results["run"] = {
        "key": key,
        **describe_run(experiment),
        "stages": {stage.name: stage_record(folder / stage.name) for stage in stages},
    }
    title = f"{experiment.benchmark.upper()}: {folder.name}"
    write_report(results, report, gallery=gallery(evidence, folder / "data"), title=title)
    write_text(path, json.dumps(results, indent=1, allow_nan=False) + "\n")
    return results


def made_before(folder: Path, stages: Sequence[Stage]) -> tuple[str, dict[str, Any] | None]:
    """Return the key of numbers that are made from these stages, and `results.json` where it has that key."""
    made_from = [stage.key for stage in stages] + [version("unlearn-metrics")]
    key = blake2b(json.dumps(made_from).encode(), digest_size=16).hexdigest()
    known = read_results(folder / "results.json")
    return key, known if known is not None and known["run"]["key"] == key else None


def describe_run(experiment: Experiment) -> dict[str, Any]:
    """Return options, seeds and versions: enough to run it again."""
    return {
        "options": options.plain(experiment),
        "seeds": {state: experiment.seed_for(state) for state in experiment.states},
        "versions": {
            "python": platform.python_version(),
            **{name: found for name in REPORTED if (found := installed_version(name))},
        },
    }


def write_run(experiment: Experiment, folder: Path) -> None:
    """Write `run.yaml`."""
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / "run.yaml", yaml.safe_dump(describe_run(experiment), sort_keys=False))


def _compute(evidence: Mapping[str, "Evidence"]) -> dict[str, Any]:
    from unlearn_metrics import compute

    retrained, target = evidence["retrained"], evidence["target"]
    computed = {state: compute(found, retrained, target=target) for state, found in evidence.items()}
    return {
        "states": {state: numbers["sets"] for state, numbers in computed.items()},
        "summary": {state: numbers["summary"] for state, numbers in computed.items()},
        "missing": {state: numbers["missing"] for state, numbers in computed.items()},
    }


def stage_record(folder: Path) -> Mapping[str, Any]:
    """Return what is reported of a stage: its seconds and its peak memory."""
    record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
    return {name: record[name] for name in ("seconds", "peak_memory_bytes")}


def read_results(path: Path) -> dict[str, Any] | None:
    """Read a `results.json`; None where it is not there or cut off."""
    try:
        known: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None
    return known


def write_text(path: Path, text: str) -> None:
    """Write a file beside its place, then rename it."""
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)
