"""`unlearn report`: compute the numbers of a finished run anew, and draw its report."""

import argparse
from pathlib import Path
from typing import Any

from unlearn_train.extras import need


def add(subparsers: Any, shared: argparse.ArgumentParser) -> None:
    """Describe the command."""
    parser = subparsers.add_parser(
        "report", help="compute and draw the report of a run from its evidence", parents=[shared]
    )
    parser.set_defaults(run=run)
    parser.add_argument("folder", type=Path, metavar="RUN", help="folder of a run, such as runs/demo")


def run(args: argparse.Namespace) -> int:
    """Compute, draw and show the numbers."""
    need("unlearn_metrics", "unlearn_metrics.report")
    from unlearn_train import options
    from unlearn_train.commands._benchmarks import parts_of
    from unlearn_train.experiment import Experiment
    from unlearn_train.stages import Run

    experiment = options.build(Experiment, options.read_run(args.folder / "run.yaml"))
    plan, write_results, show = parts_of(experiment)
    stages = plan(experiment, args.folder, quiet=args.quiet)
    for stage in stages:
        if Run(args.folder).record(stage) is None:
            raise ValueError(
                f"{args.folder / stage.name} is not there or out of date; `unlearn run {experiment.benchmark} --name "
                f"{args.folder.name}` makes it."
            )
    (args.folder / "report.html").unlink(missing_ok=True)
    print(show(write_results(experiment, args.folder, stages)))
    print(f"\nreport: {args.folder / 'report.html'}")
    return 0
