"""`unlearn-metrics report`: numbers, or the evidence that they come from, into report.html."""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments to its parser."""
    parser.add_argument(
        "paths",
        type=Path,
        nargs="+",
        metavar="PATH",
        help="results.json of a run; or folders of evidence or logs, one a model",
    )
    for name in ("retrained", "target"):
        parser.add_argument(f"--{name}", type=Path, metavar="PATH", help=f"evidence or log of the {name} model")
    parser.add_argument(
        "--out", type=Path, metavar="FILE", help="the report; report.html beside the results, or here, by default"
    )
    parser.add_argument(
        "--title", default="Machine unlearning report", help="heading of the page (default: %(default)s)"
    )


def run(args: argparse.Namespace) -> int:
    """Writes the report and says where it is.

    Returns:
        0.

    Raises:
        ValueError: If a path is neither results, evidence nor a log, or is damaged.
        ImportError: If matplotlib is not installed.
        OSError: If a file cannot be read or written.
    """
    from unlearn_metrics.report import write_report

    first, others = args.paths[0], [args.retrained, args.target, *args.paths[1:]]
    if not any(others) and (known := _results(first)) is not None:
        results, out = known, args.out or first.with_name("report.html")
    else:
        results, out = _computed(args.paths, args.retrained, args.target), args.out or Path("report.html")
    write_report(results, out, title=args.title)
    print(out)
    return 0


def _results(path: Path) -> dict[str, Any] | None:
    """What a `results.json` holds; None where the path is something else."""
    from unlearn_metrics.logs import is_log

    if not path.is_file():
        return None
    try:
        results = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is no JSON file, or a truncated one ({error}); compute the results again.") from None
    if not isinstance(results, dict):
        raise ValueError(f"{path} must hold an object with `states`, got a {type(results).__name__}.")
    if is_log(results):
        return None
    if "states" not in results:
        found = ", ".join(f"`{key}`" for key in list(results)[:4]) or "an empty object"
        raise ValueError(f"{path}: expected a results.json (with `states`) or an evaluation log, found {found}.")
    return results


def _computed(paths: Sequence[Path], retrained: Path | None, target: Path | None) -> dict[str, Any]:
    """The numbers of each model under its name, the retrained and the target model with them."""
    from unlearn_metrics import compute, read
    from unlearn_metrics._sources import names

    others = {name: read(path) if path else None for name, path in (("retrained", retrained), ("target", target))}
    sources = others | {name: read(path) for name, path in zip(names(paths), paths, strict=True)}
    computed = {
        name: compute(each, others["retrained"], target=others["target"]) for name, each in sources.items() if each
    }
    return {
        "states": {name: each["sets"] for name, each in computed.items()},
        "summary": {name: each["summary"] for name, each in computed.items()},
    }
