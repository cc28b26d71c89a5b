"""Which experiment of `unlearn run` has which stages, numbers and table."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from unlearn_train.experiment import Experiment
from unlearn_train.stages import Stage


class Parts(NamedTuple):
    """What the commands need of an experiment."""

    plan: Callable[..., list[Stage]]
    write_results: Callable[[Experiment, Path, Sequence[Stage]], dict[str, Any]]
    show: Callable[[Mapping[str, Any]], str]
    """lays results out as text"""


def parts_of(experiment: Experiment) -> Parts:
    """Return the parts of an experiment's kind."""
    if experiment.pulse is not None:
        from unlearn_train.pulse.numbers import table
        from unlearn_train.pulse.plan import plan as pulse_plan
        from unlearn_train.pulse.results import write_results as pulse_results

        return Parts(pulse_plan, pulse_results, lambda results: table(results["pulse"]["table"]))
    from unlearn_train.results import write_results
    from unlearn_train.workflow import plan

    return Parts(plan, write_results, _table)


def _table(results: Mapping[str, Any]) -> str:
    from unlearn_metrics import render_table

    return render_table(results)
