"""`unlearn forget`: make a model forget a set with one method."""

import argparse
from typing import Any

from unlearn_train.commands._shared import add_model, add_training, save_beside, training_epilog, training_options


def add(subparsers: Any, shared: argparse.ArgumentParser) -> None:
    """Describe the command."""
    parser = subparsers.add_parser(
        "forget",
        help="make a model forget a set",
        parents=[shared],
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=training_epilog(),
    )
    parser.set_defaults(run=run)
    add_model(parser)
    parser.add_argument("--forget", default="forget10", metavar="SET", help="the set to forget (default: %(default)s)")
    parser.add_argument("--retain", default="retain90", metavar="SET", help="the set to keep (default: %(default)s)")
    parser.add_argument("--method", required=True, help="`unlearn methods` lists them")
    parser.add_argument(
        "--option",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="an option of the method, such as beta=0.1; repeatable",
    )
    add_training(parser)


def run(args: argparse.Namespace) -> int:
    """Unlearn and save."""
    from unlearn_core import build_method

    from unlearn_train import forget
    from unlearn_train.data import RowSets
    from unlearn_train.models import load_model
    from unlearn_train.options import merge, nest

    options = training_options(args)
    method = build_method(args.method, **merge(*(nest(text) for text in args.option)))
    data = RowSets.read(args.data)
    data.require_apart(args.forget, args.retain)
    tasks = args.tasks.split(",")
    forgotten, retained = data.select(args.forget, tasks), data.select(args.retain, tasks)
    model, processor = load_model(args.model, dtype=args.dtype, chat_template=args.chat_template)
    forget(model, processor, method, forgotten, retained, options, quiet=args.quiet)
    save_beside(model, processor, args.out)
    return 0
