"""What several commands take, and the extras that they need."""

import argparse
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from unlearn_train.settings import TrainOptions


def add_model(parser: argparse.ArgumentParser) -> None:
    """Add the options that say which model is read."""
    parser.add_argument("--model", required=True, metavar="FOLDER", help="folder or hub name of the model")
    parser.add_argument(
        "--dtype", default="float32", help="of the weights: float32, bfloat16 or float16 (default: %(default)s)"
    )
    parser.add_argument(
        "--chat-template", type=Path, metavar="FILE", help="Jinja chat template, instead of the model's own"
    )
    parser.add_argument(
        "--data", required=True, type=Path, metavar="FOLDER", help="dataset folder: rows.parquet and sets.json"
    )


def add_training(parser: argparse.ArgumentParser) -> None:
    """Add the option that sets how a model is trained."""
    parser.add_argument(
        "--out", required=True, type=Path, metavar="FOLDER", help="where the model is saved; must not be there yet"
    )
    parser.add_argument("--seed", type=int, default=0, help="default: %(default)s")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="an option of the training, such as epochs=5 (see below); repeatable",
    )
    parser.add_argument("--tasks", default="qa,caption,vqa", help="which rows to train on (default: %(default)s)")


def training_options(args: argparse.Namespace) -> "TrainOptions":
    """Make the options of a training from `--set` and `--seed`.

    Raises:
        ValueError: an option is unknown or out of its range, or `--out` is there already.
    """
    from unlearn_train.options import build, merge, nest
    from unlearn_train.settings import TrainOptions

    if args.out.exists():
        raise ValueError(f"{args.out} is there already; choose another folder, or remove it.")
    return build(TrainOptions, merge(*(nest(text) for text in args.set), {"seed": args.seed}))


def training_epilog() -> str:
    """Describe the options of a training and their defaults."""
    from unlearn_train.options import describe
    from unlearn_train.settings import TrainOptions

    return "options of the training, with their defaults:\n" + listing(dict(describe(TrainOptions)))


def listing(defaults: Mapping[str, Any]) -> str:
    """Lay out options and their defaults, one a line."""
    return "\n".join(f"  {name}={default}" for name, default in defaults.items())


def save_beside(save: Callable[[Path], None], out: Path) -> None:
    """Save a model beside its place, and rename: it is there whole or not at all."""
    partial = out.with_name(f".{out.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    save(partial)
    partial.rename(out)
