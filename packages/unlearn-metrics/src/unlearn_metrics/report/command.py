"""`unlearn-metrics report`: results.json into report.html."""

import argparse
import json
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments to its parser."""
    parser.add_argument("results", type=Path, metavar="RESULTS.json", help="numbers of a run, as `compute` writes them")
    parser.add_argument(
        "--out", type=Path, metavar="FILE", help="the report; report.html beside the results by default"
    )
    parser.add_argument(
        "--title", default="Machine unlearning report", help="heading of the page (default: %(default)s)"
    )


def run(args: argparse.Namespace) -> int:
    """Writes the report and says where it is.

    Returns:
        0.

    Raises:
        ValueError: If the results are not readable as such.
        ImportError: If matplotlib is not installed.
        OSError: If a file cannot be read or written.
    """
    from unlearn_metrics.report import write_report

    out = args.out or args.results.with_name("report.html")
    write_report(_read(args.results), out, title=args.title)
    print(out)
    return 0


def _read(path: Path) -> dict[str, object]:
    try:
        results = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is no JSON file, or a truncated one ({error}); compute the results again.") from None
    if not isinstance(results, dict):
        raise ValueError(f"{path} must hold an object with `states`, got a {type(results).__name__}.")
    return results
