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
    compute = commands.add_parser("compute", parents=[shared], help="every number that evidence or a log gives")
    compute.add_argument("path", type=Path, metavar="PATH", help="folder of evidence, or evaluation log")
    _add_choices(compute)
    compute.add_argument("--by-subject", action="store_true", help="the numbers of each subject as well")
    compute.set_defaults(run=_compute)
    compare = commands.add_parser("compare", parents=[shared], help="several models side by side, best marked")
    compare.add_argument(
        "paths", type=Path, nargs="+", metavar="PATH", help="folders of evidence, or logs; differences to the first"
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
    for name, text in (
        ("retrained", "the same on the model that never saw the forget set"),
        ("target", "the same on the model before unlearning"),
    ):
        parser.add_argument(f"--{name}", type=Path, metavar="PATH", help=text)
    parser.add_argument("--benchmark", metavar="NAME", help="only what this benchmark reports: tofu, clear, …")
    parser.add_argument(
        "--resample",
        choices=("subjects", "rows"),
        default="subjects",
        help="what intervals draw anew (default: %(default)s)",
    )
    formats = parser.add_mutually_exclusive_group()
    for name in ("json", "markdown", "latex"):
        formats.add_argument(f"--{name}", dest="format", action="store_const", const=name, help=f"print {name}")
    parser.set_defaults(format="terminal")


def _options(args: argparse.Namespace) -> dict[str, Any]:
    """The options of `compute` that both commands have."""
    from unlearn_metrics import read

    others = {name: read(path) for name in ("retrained", "target") if (path := getattr(args, name))}
    return {**others, "benchmark": args.benchmark, "resample": args.resample}


def _compute(args: argparse.Namespace) -> int:
    from unlearn_metrics import compare, compute, read
    from unlearn_metrics._sources import name

    results = compute(read(args.path), by_subject=args.by_subject, **_options(args))
    if args.format == "json":
        print(json.dumps(results, indent=2, allow_nan=False))
        return 0
    print(compare({name(args.path): results}, args.format))
    if args.by_subject:
        from unlearn_metrics._compare import subjects_table

        print(f"\n{subjects_table(results, args.format)}")
    _say_missing({name(args.path): results})
    return 0


def _compare(args: argparse.Namespace) -> int:
    from unlearn_metrics import compare, compute, paired, read
    from unlearn_metrics._compare import differences_text
    from unlearn_metrics._paired import adjusted
    from unlearn_metrics._sources import names

    options = _options(args)
    sources = {name: read(path) for name, path in zip(names(args.paths), args.paths, strict=True)}
    results = {name: compute(each, **options) for name, each in sources.items()}
    first, *others = sources
    shown = results[first]["sets"]
    differences = {
        name: _restricted(paired(sources[name], sources[first], resample=args.resample), shown) for name in others
    }
    p = adjusted(differences)
    if "retrained" in options and "retrained" not in results:
        # What the best is measured by on forget sets.
        results["retrained"] = compute(options["retrained"], **options)
    if args.format == "json":
        print(json.dumps({"results": results, "differences": _as_dicts(differences, p)}, indent=2, allow_nan=False))
        return 0
    print(compare(results, args.format))
    print(differences_text(differences, p, first, args.format))
    _say_missing({name: results[name] for name in sources})
    return 0


def _restricted(differences: Mapping[str, Mapping[str, Any]], shown: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The differences in what the results show."""
    return {
        name: {metric: each for metric, each in metrics.items() if metric in shown[name]["all"]}
        for name, metrics in differences.items()
        if name in shown
    }


def _as_dicts(differences: Mapping[str, Mapping[str, Mapping[str, Any]]], p: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: {
            of: {metric: {**each._asdict(), "adjusted_p": p[name][of][metric]} for metric, each in metrics.items()}
            for of, metrics in sets.items()
        }
        for name, sets in differences.items()
    }


def _say_missing(results: Mapping[str, Any]) -> None:
    """What is not there and why, those of one reason on one line; in brackets the models, where not all."""
    by_reason: dict[str, dict[str, list[str]]] = {}
    for model, each in results.items():
        for metric, reason in each["missing"].items():
            by_reason.setdefault(reason, {}).setdefault(metric, []).append(model)
    for reason, metrics in by_reason.items():
        names = [
            metric if len(models) == len(results) else f"{metric} ({', '.join(models)})"
            for metric, models in metrics.items()
        ]
        print(f"no {', '.join(names)}: {reason}.", file=sys.stderr)


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
