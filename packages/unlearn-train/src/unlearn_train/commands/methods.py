"""`unlearn methods`: the methods and their options."""

import argparse
import textwrap
from typing import Any


def add(subparsers: Any, shared: argparse.ArgumentParser) -> None:
    """Describe the command."""
    parser = subparsers.add_parser("methods", help="list the methods, or show one with its options", parents=[shared])
    parser.set_defaults(run=run)
    parser.add_argument("name", nargs="?", help="show this one")


def run(args: argparse.Namespace) -> int:
    """Print the table, or the page of one method."""
    from unlearn_core import METHODS, build_method, describe

    if args.name is None:
        width = max(map(len, METHODS))
        for name, method in METHODS.items():
            print(f"{name:<{width}}  {method.summary}")
        return 0
    method = type(build_method(args.name))
    print(f"{args.name}: {method.summary}\n{method.paper}\nneeds: {', '.join(sorted(method.needs))}\n")
    for option in describe(method):
        print(textwrap.fill(f"{option.name}={option.default}  {option.doc}", 100, subsequent_indent="    "))
    return 0
