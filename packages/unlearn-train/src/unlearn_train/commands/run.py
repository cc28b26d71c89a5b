"""`unlearn run clear|tofu|pulse`: a whole experiment, from data to report."""

import argparse
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from importlib.resources import files
from pathlib import Path
from typing import Any

from unlearn_train import clear, launching, pulse, tofu
from unlearn_train.commands._shared import add_processes, listing
from unlearn_train.extras import need

LOCK = ".run.lock"
BENCHMARKS: dict[str, Any] = {"clear": clear, "tofu": tofu, "pulse": pulse}
SETS = ("forget", "retain")
"""flags of the benchmarks that forget a set of the data"""
FLAGS = {
    "seed": ("seed", int, "of everything"),
    "forget": ("forget", str, "the set to forget"),
    "retain": ("retain", str, "the set to keep"),
    "model": ("model.name", str, "folder or hub name of a checkpoint, instead of the small model that is built"),
    "dtype": ("model.dtype", str, "of a checkpoint's weights: float32, bfloat16 or float16"),
    "chat-template": ("model.chat_template", str, "file with a Jinja chat template, instead of the checkpoint's own"),
    "data": ("data.folder", str, "a dataset folder, or a benchmark's files, instead of building the rows"),
    "subjects": ("data.subjects", int, "people who are learnt"),
    "images": ("data.images", int, "photographs of each"),
    "faces": ("data.faces", str, "folder of photographs, instead of drawing any"),
    "pool": ("data.pool", str, "folder of portraits, instead of those that ship"),
    "pipeline": ("data.pipeline", str, "diffusers pipeline that draws the photographs: a folder or a hub name"),
}


def add(subparsers: Any, shared: argparse.ArgumentParser) -> None:
    """Describe the command."""
    parser = subparsers.add_parser("run", help="a whole experiment, from data to report")
    benchmarks = parser.add_subparsers(title="benchmarks", required=True, metavar="BENCHMARK")
    for name, benchmark in BENCHMARKS.items():
        one = benchmarks.add_parser(
            name,
            help=(benchmark.__doc__ or "").split(".")[0],
            description=benchmark.__doc__,
            parents=[shared],
            formatter_class=argparse.RawDescriptionHelpFormatter,
            epilog=_defaults(name),
        )
        one.set_defaults(run=run, benchmark=name)
        _add_options(one, name)


def run(args: argparse.Namespace) -> int:
    """Run or go on with an experiment, and show its numbers."""
    from unlearn_train.commands._benchmarks import parts_of
    from unlearn_train.locking import exclusive
    from unlearn_train.results import write_run
    from unlearn_train.stages import Run

    experiment = resolve(args)
    folder: Path = args.runs / args.name
    plan, write_results, show = parts_of(experiment)
    stages = plan(experiment, folder, quiet=args.quiet)
    need("unlearn_metrics", "unlearn_metrics.scoring", "unlearn_metrics.report")
    launching.join()
    with exclusive(folder / LOCK, folder) if launching.rank() == 0 else nullcontext():
        if launching.rank() == 0:
            write_run(experiment, folder)
        Run(folder, quiet=args.quiet).make(stages)
        if launching.rank() > 0:
            return 0
        results = write_results(experiment, folder, stages)
    print(show(results))
    print(f"\nreport: {folder / 'report.html'}\nnumbers: {folder / 'results.json'}")
    return 0


def resolve(args: argparse.Namespace) -> Any:
    """Make the experiment of a command line: the benchmark's defaults, the YAML file, the flags, in this order.

    Raises:
        ValueError: an option is unknown, of the wrong type or out of its range.
    """
    from unlearn_train import options
    from unlearn_train.experiment import Experiment

    given = options.read_run(_shipped(args.config)) if args.config else {}
    if given.get("benchmark", args.benchmark) != args.benchmark:
        raise ValueError(f"{args.config} is of `unlearn run {given['benchmark']}`, not of {args.benchmark}.")
    flags = {name: getattr(args, flag.replace("-", "_"), None) for flag, (name, _, _) in FLAGS.items()}
    named = [options.place(name, value) for name, value in flags.items() if value is not None]
    chosen = options.merge(given, *named, *(options.nest(text) for text in args.set))
    methods = chosen.pop("methods", None)
    if args.methods is not None:
        methods = {name: (methods or {}).get(name, {}) for name in args.methods.split(",")}
    benchmark = BENCHMARKS[args.benchmark]
    checkpoint = options.merge({"model": {"name": None}}, chosen)["model"]["name"] is not None
    defaults = dict(benchmark.CHECKPOINT if checkpoint else benchmark.EMBEDDED)
    known = defaults.pop("methods")
    wanted: Mapping[str, Any] = known if methods is None else methods
    merged = {name: options.merge(known.get(name, {}), wanted[name]) for name in wanted}
    return options.build(Experiment, options.merge(defaults, chosen, {"methods": merged}))


def _add_options(parser: argparse.ArgumentParser, benchmark: str) -> None:
    parser.add_argument("--name", default=benchmark, help="of the run: its folder in --runs (default: %(default)s)")
    parser.add_argument(
        "--runs", type=Path, default=Path("runs"), metavar="FOLDER", help="where runs are kept (default: %(default)s)"
    )
    parser.add_argument(
        "--config",
        type=Path,
        metavar="YAML",
        help="options from a file, or the name of one that ships; a run's run.yaml runs it again",
    )
    add_processes(parser)
    parser.add_argument("--methods", metavar="A,B", help="which methods unlearn (`unlearn methods` lists them)")
    for flag, (_, kind, text) in FLAGS.items():
        if benchmark == "pulse" and flag in SETS:
            continue
        parser.add_argument(f"--{flag}", type=kind, metavar=kind.__name__.upper(), help=text)
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="any option by its full name (see below); repeatable",
    )


def _defaults(benchmark: str) -> str:
    from unlearn_train import options
    from unlearn_train.experiment import Experiment

    described = options.describe(Experiment)
    if benchmark != "pulse":
        described = [option for option in described if not option.name.startswith("pulse")]
    chosen = dict(_flat(BENCHMARKS[benchmark].EMBEDDED))
    return "all options, with their defaults for the small model:\n" + listing(described, chosen)


def _flat(values: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{path}{name}.")
        else:
            yield f"{path}{name}", value


def _shipped(config: Path) -> Path:
    """The file of that name, or else the one that ships under it."""
    if config.exists() or config.parent != Path():
        return config
    folder = Path(str(files("unlearn_train"))) / "configs"
    found = {path.stem: path for path in sorted(folder.glob("*.yaml"))}
    if config.name in found:
        return found[config.name]
    raise ValueError(f"{config} is not there; give a YAML file of options, or one that ships: {', '.join(found)}.")
