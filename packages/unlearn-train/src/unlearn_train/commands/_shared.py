"""What several commands take, and the extras that they need."""

import argparse
import json
import shutil
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NoReturn

from unlearn_train import launching
from unlearn_train.locking import exclusive
from unlearn_train.stages import RESUME

if TYPE_CHECKING:
    from unlearn_train.options import Option
    from unlearn_train.settings import TrainOptions

WIDTH = 110
LOG = "training.json"
"""a training's log, in the folder of the model"""


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
    parser.add_argument(
        "--resume",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="go on where the same training into the same folder was cut off (default), or begin anew",
    )
    add_processes(parser)
    parser.add_argument("--tasks", default="qa,caption,vqa", help="which rows to train on (default: %(default)s)")


def add_processes(parser: argparse.ArgumentParser) -> None:
    """Add the option that says how many processes train."""
    parser.add_argument(
        "--nproc",
        type=_count,
        default=1,
        metavar="N",
        help="processes that share the training, one for each GPU; or start them with torchrun, deepspeed or "
        "accelerate launch",
    )


def training_options(args: argparse.Namespace) -> "TrainOptions":
    """Make the options of a training from `--set` and `--seed`.

    Raises:
        ValueError: an option is unknown or out of its range, or `--out` is there already.
    """
    from unlearn_train.options import build, merge, nest
    from unlearn_train.settings import TrainOptions

    if args.out.exists():
        _refuse(args.out)
    return build(TrainOptions, merge(*(nest(text) for text in args.set), {"seed": args.seed}))


def training_epilog() -> str:
    """Describe the options of a training and their defaults."""
    from unlearn_train.options import describe
    from unlearn_train.settings import TrainOptions

    return "options of the training, with their defaults:\n" + listing(describe(TrainOptions))


def listing(options: "Sequence[Option]", chosen: Mapping[str, Any] = MappingProxyType({})) -> str:
    """Lay out options, their defaults and their meaning, which is said once of those that have the same.

    Args:
        options: in the order in which they are shown.
        chosen: defaults in the place of the options' own; what is no option by itself comes last.
    """
    defaults = {option.name: option.default for option in options} | dict(chosen)
    docs, said = {option.name: option.doc for option in options}, set[str]()
    lines = []
    for name, default in defaults.items():
        doc = docs.get(name, "")
        shown = f"{name}={default}" + (f"  {doc}" if doc not in said else "")
        said.add(doc)
        lines.append(textwrap.fill(shown, WIDTH, initial_indent="  ", subsequent_indent="      "))
    return "\n".join(lines)


@contextmanager
def resume_folder(args: argparse.Namespace) -> Iterator[Path]:
    """Hold where a training keeps what it goes on from if it is cut off; empty, where it is to begin anew.

    Raises:
        RuntimeError: another command is at work there.
        ValueError: another command has finished there meanwhile.
    """
    out: Path = args.out
    folder, lock = _beside(out) / RESUME, out.with_name(f".{out.name}.lock")
    with exclusive(lock, out, passing=True) if launching.rank() == 0 else nullcontext():
        if launching.agree(out.exists()):
            _refuse(out)
        if not args.resume and launching.rank() == 0:
            shutil.rmtree(folder, ignore_errors=True)
        launching.agree(None)
        yield folder


def save_beside(save: Callable[[Path], None], out: Path, log: Sequence[Mapping[str, float]] = ()) -> None:
    """Save a model and its training's log beside its place, and rename: it is there whole or not at all.

    The first process does it.
    """
    if launching.rank() > 0:
        return
    partial = _beside(out)
    whole = partial / "whole"
    shutil.rmtree(whole, ignore_errors=True)
    save(whole)
    if log:
        (whole / LOG).write_text(json.dumps(log, indent=1) + "\n", encoding="utf-8")
    whole.rename(out)
    shutil.rmtree(partial)


def _refuse(out: Path) -> NoReturn:
    raise ValueError(f"{out} is there already; choose another folder, or remove it.")


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"must be a whole number above 0, got {text!r}")
    return int(text)


def _beside(out: Path) -> Path:
    return out.with_name(f".{out.name}.partial")
