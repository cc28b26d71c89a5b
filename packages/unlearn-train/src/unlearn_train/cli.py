"""The `unlearn` command."""

import argparse
import errno
import os
import sys
import traceback
from collections.abc import Sequence

from unlearn_train import __version__, launching
from unlearn_train.commands import evaluate, finetune, forget, methods, report, requests, run

COMMANDS = (run, finetune, forget, evaluate, report, requests, methods)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line.

    Returns:
        0 done, 1 failed, 2 bad usage or bad input, 130 interrupted.
    """
    parser = build_parser()
    args = parser.parse_args(argv)
    _calm(args)
    launching.end_with_parent()
    if getattr(args, "nproc", 1) > 1 and not launching.is_started():
        args.run = lambda args: launching.start(args.nproc, sys.argv[1:] if argv is None else argv)
    return launching.leave(_run(args))


def build_parser() -> argparse.ArgumentParser:
    """Build the parser of the whole command."""
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("-q", "--quiet", action="store_true", help="show no progress")
    shared.add_argument("--debug", action="store_true", help="show the traceback of an error")
    parser = argparse.ArgumentParser(
        prog="unlearn", description="Finetune and unlearn language and vision-language models."
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    # What the launcher of DeepSpeed adds; it sets LOCAL_RANK too, which is read.
    parser.add_argument("--local_rank", type=int, help=argparse.SUPPRESS)
    subparsers = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for command in COMMANDS:
        command.add(subparsers, shared)
    return parser


def _run(args: argparse.Namespace) -> int:
    try:
        return int(args.run(args) or 0)
    except KeyboardInterrupt:
        launching.say_last("unlearn: interrupted; start it again to go on.")
        return 130
    except Exception as error:
        if args.debug:
            traceback.print_exc()
        launching.say_last(f"unlearn: {_one_line(error)}")
        return 2 if isinstance(error, ValueError | TypeError) else 1


def _calm(args: argparse.Namespace) -> None:
    """Let libraries speak of errors alone, and show progress to a terminal alone."""
    args.quiet = args.quiet or not sys.stderr.isatty() or launching.rank() > 0
    if args.debug:
        return
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    if args.quiet:
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
        os.environ.setdefault("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")


def _one_line(error: Exception) -> str:
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        where = error.filename or "while writing"
        return f"the disk is full ({where}); make room and start again, what was finished is kept."
    if isinstance(error, ImportError):
        return str(error)
    text = " ".join(str(error).split())
    return text or type(error).__name__
