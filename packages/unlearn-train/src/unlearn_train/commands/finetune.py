"""`unlearn finetune`: teach a model the rows of some sets."""

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


def add(subparsers: Any, shared: argparse.ArgumentParser) -> None:
    """Describe the command."""
    parser = subparsers.add_parser(
        "finetune",
        help="teach a model the rows of some sets",
        parents=[shared],
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=training_epilog(),
    )
    parser.set_defaults(run=run)
    add_model(parser)
    parser.add_argument(
        "--sets", required=True, metavar="A,B", help="sets of the data to learn, such as forget10,retain90"
    )
    add_training(parser)


def run(args: argparse.Namespace) -> int:
    """Finetune and save."""
    from unlearn_train import finetune
    from unlearn_train.data import RowSets
    from unlearn_train.models import load_model, save_model

    launching.join()
    options = training_options(args)
    data = RowSets.read(args.data)
    rows = [row for name in args.sets.split(",") for row in data.select(name, args.tasks.split(","))]
    model, processor = load_model(args.model, dtype=args.dtype, chat_template=args.chat_template)
    with resume_folder(args) as resume:
        log = finetune(model, processor, rows, options, resume=resume, quiet=args.quiet)
        save_beside(lambda folder: save_model(model, processor, folder), args.out, log)
    return 0
