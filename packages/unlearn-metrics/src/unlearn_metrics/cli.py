"""The command `unlearn-metrics`: compute, compare, score, report."""

import argparse
import errno
import json
import os
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

from unlearn_metrics import __version__

# Commands that other parts of the package bring: their module, and the extra that it needs when it runs.
_PARTS = {
    "score": ("unlearn_metrics.scoring.command", "score", "score a model on a dataset: evidence"),
    "report": ("unlearn_metrics.report.command", "report", "draw results.json as one HTML file"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line.

    Args:
        argv: Arguments; those of the process where None.

    Returns:
        0 done, 1 failed, 2 bad usage or bad input, 130 interrupted.
    """
    args = _parser().parse_args(argv)
    args.quiet = args.quiet or not sys.stderr.isatty()
    run: Callable[[argparse.Namespace], int] = args.run
    try:
        code = run(args)
        sys.stdout.flush()
        return code
    except KeyboardInterrupt:
        return _say("interrupted.", 130)
    except BrokenPipeError:
        # Whoever read our output has seen enough; there is nowhere left to write, not even at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        if args.debug:
            traceback.print_exc()
        return _say(_one_line(error, args.command), 2 if isinstance(error, ValueError | TypeError) else 1)


def _parser() -> argparse.ArgumentParser:
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("-q", "--quiet", action="store_true", help="show no progress")
    shared.add_argument("--debug", action="store_true", help="show the traceback of an error")
    parser = argparse.ArgumentParser(prog="unlearn-metrics", description="Metrics of machine unlearning.")
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    commands = parser.add_subparsers(title="commands", dest="command", required=True, metavar="COMMAND")
    compute = commands.add_parser("compute", parents=[shared], help="every number that the evidence on a model gives")
    compute.add_argument("path", type=Path, metavar="PATH", help="evidence folder")
    _add_choices(compute)
    compute.set_defaults(run=_compute)
    compare = commands.add_parser("compare", parents=[shared], help="several models side by side, best marked")
    compare.add_argument(
        "paths", type=Path, nargs="+", metavar="PATH", help="evidence folders; differences to the first"
    )
    _add_choices(compare)
    compare.set_defaults(run=_compare)
    for name, (module, _, text) in _PARTS.items():
        _add_part(commands.add_parser(name, parents=[shared], help=text), module)
    return parser


def _add_part(parser: argparse.ArgumentParser, module: str) -> None:
    """Arguments of a command that may need an extra; where that is not installed, running it says so."""
    try:
        command = import_module(module)
    except ImportError as error:
        parser.set_defaults(run=partial(_raise, error))
        return
    command.add_arguments(parser)
    parser.set_defaults(run=command.run)


def _raise(error: ImportError, _: argparse.Namespace) -> int:
    raise error


def _add_choices(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--retrained", type=Path, metavar="PATH", help="evidence on the model that never saw the data")
    parser.add_argument("--benchmark", metavar="NAME", help="only what this benchmark reports: tofu, clear, …")
    formats = parser.add_mutually_exclusive_group()
    for name in ("json", "markdown", "latex"):
        formats.add_argument(f"--{name}", dest="format", action="store_const", const=name, help=f"print {name}")
    parser.set_defaults(format="terminal")


def _compute(args: argparse.Namespace) -> int:
    from unlearn_metrics import Evidence, compare, compute

    retrained = Evidence.read(args.retrained) if args.retrained else None
    results = compute(Evidence.read(args.path), retrained, benchmark=args.benchmark)
    if args.format == "json":
        print(json.dumps(results, indent=2, allow_nan=False))
        return 0
    print(compare({args.path.resolve().name: results}, args.format))
    _say_missing(results)
    return 0


def _compare(args: argparse.Namespace) -> int:
    from unlearn_metrics import Evidence, compare, compute, paired
    from unlearn_metrics._compare import differences_table

    retrained = Evidence.read(args.retrained) if args.retrained else None
    names = _names(args.paths)
    evidence = {name: Evidence.read(path) for name, path in zip(names, args.paths, strict=True)}
    results = {name: compute(each, retrained, benchmark=args.benchmark) for name, each in evidence.items()}
    first, *others = names
    shown = results[first]["sets"]
    differences = {name: _restricted(paired(evidence[name], evidence[first]), shown) for name in others}
    if args.format == "json":
        print(json.dumps({"results": results, "differences": _as_dicts(differences)}, indent=2, allow_nan=False))
        return 0
    print(compare(results, args.format))
    for name, sets in differences.items():
        print(f"\n{name} minus {first}, on the same rows\n\n{differences_table(sets, args.format)}")
    _say_missing(results[first])
    return 0


def _restricted(differences: Mapping[str, Mapping[str, Any]], shown: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The differences in what the results show."""
    return {
        name: {metric: each for metric, each in metrics.items() if metric in shown[name]["all"]}
        for name, metrics in differences.items()
        if name in shown
    }


def _as_dicts(differences: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> dict[str, Any]:
    return {
        name: {of: {metric: each._asdict() for metric, each in metrics.items()} for of, metrics in sets.items()}
        for name, sets in differences.items()
    }


def _say_missing(results: Mapping[str, Any]) -> None:
    for name, reason in results["missing"].items():
        print(f"no {name}: {reason}.", file=sys.stderr)


def _names(paths: Sequence[Path]) -> list[str]:
    """The last parts of the paths, or the whole paths where those are not distinct."""
    short = [path.resolve().name for path in paths]
    names = short if len(set(short)) == len(short) else [str(path) for path in paths]
    if len(set(names)) < len(names):
        raise ValueError("the same evidence is given twice. Give each folder once.")
    return names


def _say(message: str, code: int) -> int:
    print(f"unlearn-metrics: {message}", file=sys.stderr)
    return code


def _one_line(error: Exception, command: str) -> str:
    if isinstance(error, ImportError) and command in _PARTS and "pip install" not in str(error):
        return f'{error}; `{command}` needs more: pip install "unlearn-metrics[{_PARTS[command][1]}]"'
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return f"the disk is full ({error.filename or 'while writing'}). Make room and run it again."
    return " ".join(str(error).split()) or type(error).__name__


if __name__ == "__main__":
    sys.exit(main())
