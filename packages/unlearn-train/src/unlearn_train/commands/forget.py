"""`unlearn forget`: make a model forget a set with one method."""

import argparse
from typing import Any

from unlearn_train import launching
from unlearn_train.commands._shared import (
    add_model,
    add_training,
    resume_folder,
    save_beside,
    training_epilog,
    training_options,
)
from unlearn_train.options import merge, nest
from unlearn_train.recipes import read_recipe


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
    parser.add_argument(
        "--holdout", metavar="SET", help="rows that the model never met: as unlikely --set watch={} makes the others"
    )
    parser.add_argument(
        "--method", required=True, help="a loss, a weight edit or a guard; `unlearn methods` lists them"
    )
    parser.add_argument(
        "--transform",
        action="append",
        default=[],
        metavar="NAME",
        help="a gradient transform for a loss; repeatable, the first comes first after the loss",
    )
    parser.add_argument(
        "--option",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="an option of the method, such as beta=0.1, or of a transform, such as sam.rho=0.05; repeatable",
    )
    add_training(parser)


def run(args: argparse.Namespace) -> int:
    """Unlearn and save."""
    from unlearn_train import unlearn
    from unlearn_train.data import RowSets
    from unlearn_train.models import load_model

    launching.join()
    options = training_options(args)
    method, transforms = read_recipe(args.method, _given(args))
    data = RowSets.read(args.data)
    data.require_apart(args.forget, args.retain)
    tasks = args.tasks.split(",")
    forgotten, retained = data.select(args.forget, tasks), data.select(args.retain, tasks)
    if args.holdout and options.watch is None:
        raise ValueError("`--holdout` is for a watch over the unlearning; add `--set watch={}`, or leave it out.")
    unknown = data.select(args.holdout, tasks) if args.holdout else []
    model, processor = load_model(args.model, dtype=args.dtype, chat_template=args.chat_template)
    with resume_folder(args) as resume:
        how: dict[str, Any] = {"transforms": transforms, "resume": resume, "holdout_rows": unknown, "quiet": args.quiet}
        done = unlearn(model, processor, method, forgotten, retained, options, **how)
        save_beside(lambda folder: done.save(model, processor, folder), args.out, done.log)
    return 0


def _given(args: argparse.Namespace) -> dict[str, Any]:
    """The options, those of transforms apart: `sam.rho=0.05` is one of the transform `sam`, where that is chosen."""
    options = merge(*(nest(text) for text in args.option))
    chosen = dict.fromkeys([*args.method.split("+")[1:], *args.transform])
    transforms = {name: options.pop(name, {}) for name in chosen}
    return {**options, "transforms": transforms}
