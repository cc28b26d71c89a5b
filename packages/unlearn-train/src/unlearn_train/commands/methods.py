"""`unlearn methods`: the methods and their options."""

import argparse
import textwrap
from typing import Any

HOW = {
    "loss": "a loss: unlearn forget --method {name}",
    "transform": "a gradient transform of any loss: unlearn forget --method npo --transform {name}",
    "edit": "a weight edit: unlearn forget --method {name}",
    "guard": "a guard around a model whose weights stay: unlearn forget --method {name}",
}


def add(subparsers: Any, shared: argparse.ArgumentParser) -> None:
    """Describe the command."""
    parser = subparsers.add_parser("methods", help="list the methods, or show one with its options", parents=[shared])
    parser.set_defaults(run=run)
    parser.add_argument("name", nargs="?", help="show this one")


def run(args: argparse.Namespace) -> int:
    """Print the table, or the page of one method."""
    from unlearn_core import CATALOGUE, build_method

    if args.name is None:
        rows = [("name", "kind", "what it does", "paper")]
        rows += [(name, each.kind, each.summary, each.paper) for name, each in CATALOGUE.items()]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        for row in rows:
            print("  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip())
        return 0
    _print_page(args.name, type(build_method(args.name)))
    return 0


def _print_page(name: str, method: Any) -> None:
    from unlearn_core import describe, explain

    title, _, text = explain(method).partition("\n")
    print(f"{name}: {title}\n{method.summary}\n{method.paper}\n{HOW[method.kind].format(name=name)}")
    print(f"needs: {', '.join(sorted(method.needs)) or 'nothing'}\n")
    for paragraph in filter(None, text.strip().split("\n\n")):
        print(textwrap.fill(" ".join(paragraph.split()), 100) + "\n")
    options = describe(method)
    if options:
        prefix = f"{name}." if method.kind == "transform" else ""
        print(f"options, each set by --option {prefix}NAME=VALUE:")
    for option in options:
        print(textwrap.fill(f"{option.name}={option.default}  {option.doc}", 100, subsequent_indent="    "))
