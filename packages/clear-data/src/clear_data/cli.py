"""The command `clear-data`."""

import argparse
import logging
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from clear_data import __version__, commands

FAILED, BAD_INPUT, INTERRUPTED = 1, 2, 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run `clear-data`.

    Returns:
        0 when done, 1 when it failed, 2 on bad usage or input, 130 when interrupted.
    """
    try:
        args = _parser().parse_args(argv)
    except SystemExit as error:  # argparse has said why
        return int(error.code or 0)
    logging.basicConfig(
        level=logging.WARNING if args.quiet else logging.INFO, format="clear-data: %(message)s", force=True
    )
    logging.getLogger().setLevel(logging.WARNING)
    logging.getLogger("clear_data").setLevel(logging.WARNING if args.quiet else logging.INFO)
    try:
        return int(args.run(args) or 0)
    except KeyboardInterrupt:
        return _complain("interrupted; what is finished is kept.", INTERRUPTED)
    except ValueError as error:
        return _fail(error, BAD_INPUT, args.debug)
    except (OSError, ImportError) as error:
        return _fail(error, FAILED, args.debug)


def _fail(error: Exception, code: int, debug: bool) -> int:
    if debug:
        raise error
    if isinstance(error, OSError) and error.strerror:
        place = f"{error.filename}: " if error.filename else ""
        return _complain(f"{place}{error.strerror}; set that right and run it again, what is finished is kept.", code)
    return _complain(" ".join(str(error).split()), code)


def _complain(message: str, code: int) -> int:
    print(f"clear-data: {message}", file=sys.stderr)
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="clear-data", description="Fictitious people, their questions and photographs."
    )
    parser.add_argument("--version", action="version", version=f"clear-data {__version__}")
    subcommands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_build(_command(subcommands, "build", commands.build_dataset, "make people, questions and photographs"))
    _add_read(_command(subcommands, "read", commands.read_benchmark, "read a public benchmark into the same columns"))
    _add_export(_command(subcommands, "export", commands.export_dataset, "write a dataset in another form"))
    check = _command(subcommands, "check", commands.check_dataset, "check rows, sets and pictures of a dataset")
    check.add_argument("folder", type=Path, help="the dataset")
    _add_show(_command(subcommands, "show", commands.show_dataset, "draw a contact sheet of a dataset"))
    return parser


def _command(
    subcommands: "argparse._SubParsersAction[argparse.ArgumentParser]",
    name: str,
    run: Callable[[argparse.Namespace], int],
    summary: str,
) -> argparse.ArgumentParser:
    parser = subcommands.add_parser(name, help=summary, description=f"{summary[0].upper()}{summary[1:]}.")
    parser.add_argument("-q", "--quiet", action="store_true", help="print no progress")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    parser.set_defaults(run=run)
    return parser


def _add_build(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", type=Path, required=True, help="the folder to write")
    parser.add_argument("--force", action="store_true", help="replace what is in that folder")
    what = parser.add_argument_group("what to build")
    what.add_argument("--subjects", type=int, help="people to learn and forget (40)")
    what.add_argument("--questions", type=int, default=10, help="facts to ask about each person (%(default)s)")
    what.add_argument("--images", type=int, default=8, help="photographs of each person (%(default)s)")
    what.add_argument("--holdout", type=int, help="people who are never trained on (4)")
    what.add_argument("--figures", type=int, help="public figures, known from pre-training (12)")
    what.add_argument("--scenes", type=int, default=240, help="drawn scenes for pre-training (%(default)s)")
    what.add_argument("--unseen-scenes", type=int, default=60, help="drawn scenes for the set real_world (%(default)s)")
    what.add_argument("--seed", type=int, default=0, help="of everything (%(default)s)")
    what.add_argument("--size", type=int, help="pixels on a side of a picture (64; 512 with --pipeline)")
    faces = parser.add_argument_group("where photographs come from (default: the pipeline and portraits that ship)")
    faces.add_argument("--faces", type=Path, metavar="DIR", help="photographs that you have")
    faces.add_argument(
        "--pool", nargs="?", const="", metavar="DIR", help="portraits to start from; without DIR those that ship"
    )
    faces.add_argument("--pipeline", metavar="NAME", help="any diffusers pipeline, a folder or hub name")
    drawing = parser.add_argument_group("how a pipeline draws")
    drawing.add_argument("--prompt", help="template; may name {old} {gender} {name} {setting} {ethnicity}")
    drawing.add_argument("--steps", type=int, help="diffusion steps")
    drawing.add_argument("--guidance", type=float, help="guidance scale")
    drawing.add_argument("--strength", type=float, help="how far image-to-image leaves the portrait, 0 to 1")
    drawing.add_argument("--batch", type=int, help="photographs at once")
    drawing.add_argument("--device", help="cpu, cuda, …")
    drawing.add_argument("--dtype", choices=("float32", "float16", "bfloat16"), help="number type")


def _add_read(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("benchmark", choices=("mllmu", "tofu"), help="which one")
    parser.add_argument("source", help="a folder of its files, or its name on the Hugging Face hub")
    parser.add_argument("--out", type=Path, required=True, help="the folder to write")
    parser.add_argument("--force", action="store_true", help="replace what is in that folder")


def _add_export(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", type=Path, help="the dataset")
    parser.add_argument("--format", choices=("clear",), default="clear", help="the form (%(default)s)")
    parser.add_argument("--out", type=Path, required=True, help="the folder to write")
    parser.add_argument("--force", action="store_true", help="replace what is in that folder")


def _add_show(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", type=Path, help="the dataset")
    parser.add_argument("--out", type=Path, required=True, help="the picture to write, such as sheet.png")
    parser.add_argument("--set", dest="set_name", help="show the subjects of this set alone")
    parser.add_argument("--limit", type=int, default=60, help="subjects to show (%(default)s)")
