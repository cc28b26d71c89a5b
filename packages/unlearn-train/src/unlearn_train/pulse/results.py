"""The numbers of a run of the protocol, in the layout of every run, and its report."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from unlearn_train.experiment import Experiment
from unlearn_train.pulse import numbers
from unlearn_train.pulse.cells import Cell, cells
from unlearn_train.pulse.numbers import Mark, Number
from unlearn_train.pulse.plan import Work
from unlearn_train.results import describe_run, made_before, stage_record, write_text
from unlearn_train.stages import Stage

PARTS = ("forgotten", "retained", "general")


def write_results(experiment: Experiment, folder: Path, stages: Sequence[Stage]) -> dict[str, Any]:
    """Compute every number of a finished run, and write `results.json` and `report.html`.

    Nothing is computed again where both files are there and were made from the same stages.

    Returns:
        What `results.json` holds: the accuracies of every state, what was forgotten and retained in `summary`, and in
        `pulse` the table of the protocol.
    """
    path, report = folder / "results.json", folder / "report.html"
    key, known = made_before(folder, stages)
    if known is not None and report.exists():
        return known
    from unlearn_train.pulse.report import report_page

    results = compute(Work(experiment, folder))
    results["run"] = {
        "key": key,
        **describe_run(experiment),
        "seeds": {state: experiment.seed_for(state) for state in results["states"]},
        "stages": {stage.name: stage_record(folder / stage.name) for stage in stages},
    }
    write_text(report, report_page(results, title=f"PULSE: {folder.name}"))
    write_text(path, json.dumps(results, indent=1, allow_nan=False) + "\n")
    return results


def compute(work: Work) -> dict[str, Any]:
    """Compute the numbers of a run from its evidence."""
    from unlearn_metrics import Evidence

    made = cells(work.experiment)
    states = ("pretrained", "target", *(cell.state for cell in made))
    found = {state: numbers.marks(Evidence.read(work.folder / "evidence" / state)) for state in states}
    results: dict[str, Any] = {"states": {}, "summary": {}, "missing": {}}
    for state, group in (("pretrained", "pretrained"), ("target", "finetuned")):
        results["states"][state] = _accuracies(_sets(work, group, found[state]))
    never_met = numbers.of_set(found["pretrained"], "finetuned")
    results["states"]["pretrained"]["never_met"] = numbers.by_modality(never_met)
    table = []
    for cell in made:
        before, after = (_sets(work, cell.people, found[state], cell) for state in (_base(cell), cell.state))
        results["states"][cell.state] = _accuracies(after)
        results["summary"][cell.state], results["missing"][cell.state] = _percentages(before, after)
        table.append(_row(cell, results["summary"][cell.state]))
    results["pulse"] = {"table": table, "answer": work.protocol.answer, "letters": _letters(work)}
    return results


def _base(cell: Cell) -> str:
    return "pretrained" if cell.setting == "pretrained" else "target"


def _sets(work: Work, group: str, found: Sequence[Mark], cell: Cell | None = None) -> dict[str, list[Mark]]:
    """Marks by set; of several requests, those about the people that have been asked to be forgotten so far."""
    sides = work.sides(group)
    forget = sides.so_far(cell.request, work.protocol.requests) if cell and cell.request else sides.forget
    return {
        "forget": numbers.of_people(found, forget),
        "retain": numbers.of_people(found, sides.retain),
        "general": numbers.of_set(found, "general"),
    }


def _accuracies(sets: Mapping[str, Sequence[Mark]]) -> dict[str, Any]:
    return {name: numbers.by_modality(found) for name, found in sets.items()}


def _percentages(
    before: Mapping[str, Sequence[Mark]], after: Mapping[str, Sequence[Mark]]
) -> tuple[dict[str, Number], dict[str, str]]:
    found: dict[str, Number] = {}
    missing: dict[str, str] = {}
    for name, set_name in zip(PARTS, ("forget", "retain", "general"), strict=True):
        measured, lacking = numbers.compare(name, before[set_name], after[set_name])
        found, missing = found | measured, missing | lacking
    return found, missing


def _row(cell: Cell, summary: Mapping[str, Number]) -> dict[str, Any]:
    """A row of the table: the percentages by modality, None where one could not be measured."""
    percentages = {
        name: {
            modality: summary.get(f"{name}_pct" + ("" if modality == "all" else f"_{modality}"))
            for modality in numbers.MODALITIES
        }
        for name in PARTS
    }
    return {**cell._asdict(), "state": cell.state, **percentages}


def _letters(work: Work) -> dict[str, dict[str, int]]:
    """How often each letter is the right one, by what is asked: a model that always says the same gains nothing."""
    from unlearn_train.pulse.choices import letter_counts

    if work.protocol.answer != "letter":
        return {}
    return {group: letter_counts(work.questions(group)) for group in ("finetuned", "pretrained")} | {
        "general": letter_counts(work.general())
    }
