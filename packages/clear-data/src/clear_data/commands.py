"""What each subcommand does; everything heavy is imported here, when it is needed."""

import argparse
import io
import logging
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from clear_data.content import BuildOptions
    from clear_data.faces import FaceSource
    from clear_data.readers import Mllmu, Tofu

log = logging.getLogger(__name__)

_HOLDOUT_SHARE, _FIGURES_SHARE = 0.1, 0.2  # of the people in a folder of photographs
_PIPELINE_ONLY = ("prompt", "guidance", "strength", "batch", "dtype")


def build_dataset(args: argparse.Namespace) -> int:
    """Run `clear-data build`."""
    from clear_data.builder import build

    source = _face_source(args)
    data = build(_build_options(args, source), source, args.out, _progress(args), force=args.force)
    print(f"{args.out}: {len(data.rows)} rows, {len(data.sets)} sets")
    return 0


def read_benchmark(args: argparse.Namespace) -> int:
    """Run `clear-data read`."""
    from clear_data.readers import read_mllmu, read_tofu

    readers: dict[str, Callable[[str], Mllmu | Tofu]] = {"mllmu": read_mllmu, "tofu": read_tofu}
    found = readers[args.benchmark](args.source)
    found.save(args.out, overwrite=args.force)
    for note in found.notes:
        log.info("note: %s", note)
    print(f"{args.out}: {len(found.rows)} rows, {len(found.sets)} sets")
    return 0


def export_dataset(args: argparse.Namespace) -> int:
    """Run `clear-data export`."""
    from clear_data.export import export_clear

    counts = export_clear(args.folder, args.out, overwrite=args.force)
    print(f"{args.out}: {len(counts)} configurations, {sum(counts.values())} rows")
    return 0


def check_dataset(args: argparse.Namespace) -> int:
    """Run `clear-data check`; a fault in the answers makes it fail."""
    from clear_data.checker import check

    found = check(args.folder)
    tasks = ", ".join(f"{count} {task}" for task, count in found.tasks.items())
    print(f"{args.folder}: {found.rows} rows ({tasks}), {found.images} different pictures")
    print("sets: " + ", ".join(f"{name} {count}" for name, count in found.sets.items()))
    for fault in found.faults:
        print(f"fault: {fault}")
    return 1 if found.faults else 0


def show_dataset(args: argparse.Namespace) -> int:
    """Run `clear-data show`."""
    from PIL import Image

    from clear_data.files import write_file
    from clear_data.sheet import contact_sheet
    from clear_data.table import load

    form = Image.registered_extensions().get(args.out.suffix.lower())
    if form not in ("PNG", "JPEG"):
        raise ValueError(f"--out must end in .png or .jpg, got {args.out}.")
    buffer = io.BytesIO()
    contact_sheet(load(args.folder), set_name=args.set_name, limit=args.limit).save(buffer, form)
    write_file(args.out, buffer.getvalue())
    print(args.out)
    return 0


def _face_source(args: argparse.Namespace) -> "FaceSource":
    from clear_data.faces import FolderFaces, PipelineFaces, PipelineOptions, PortraitFaces, PortraitPool

    if args.faces is not None:
        _refuse(args, ("pool", "pipeline", "steps", "device", *_PIPELINE_ONLY), "--faces draws nothing")
        return FolderFaces(args.faces)
    if args.pipeline is None:
        _refuse(args, _PIPELINE_ONLY, "needs --pipeline")
        return PortraitFaces(args.pool or None, **_given(args, ("steps", "device")))
    pool = None if args.pool is None else PortraitPool.load(args.pool or None)
    if pool is None:
        _refuse(args, ("strength",), "needs --pool, a portrait to leave")
    options = PipelineOptions(**_given(args, ("size", "steps", "device", *_PIPELINE_ONLY)))
    return PipelineFaces(args.pipeline, pool=pool, options=options)


def _given(args: argparse.Namespace, names: tuple[str, ...]) -> dict[str, Any]:
    return {name: getattr(args, name) for name in names if getattr(args, name) is not None}


def _refuse(args: argparse.Namespace, names: tuple[str, ...], why: str) -> None:
    for name in _given(args, names):
        raise ValueError(f"--{name} cannot be used here: {why}.")


def _build_options(args: argparse.Namespace, source: "FaceSource") -> "BuildOptions":
    from clear_data.content import BuildOptions
    from clear_data.faces import FolderFaces, PipelineOptions

    counts = _given(args, ("subjects", "holdout", "figures"))
    if isinstance(source, FolderFaces) and len(counts) < 3:
        able, shares = source.having(args.images), "%d people of %s have %d photographs or more: %s"
        counts = share_out(len(able), counts)
        said = ", ".join(f"{count} {name}" for name, count in counts.items())
        log.info(shares, len(able), args.faces, args.images, said)
    size = args.size or (64 if args.pipeline is None else PipelineOptions().size)
    rest = {name: getattr(args, name) for name in ("questions", "images", "scenes", "unseen_scenes", "seed")}
    return BuildOptions(**counts, **rest, size=size)


def share_out(people: int, chosen: dict[str, int]) -> dict[str, int]:
    """Share people out into subjects, holdout and public figures, leaving the chosen counts as they are.

    Raises:
        ValueError: too few people are left for the subjects.

    Example:
        >>> share_out(40, {})
        {'subjects': 28, 'holdout': 4, 'figures': 8}
        >>> share_out(40, {"figures": 10})
        {'subjects': 26, 'holdout': 4, 'figures': 10}
    """
    holdout = chosen.get("holdout", round(_HOLDOUT_SHARE * people))
    figures = chosen.get("figures", round(_FIGURES_SHARE * people))
    subjects = chosen.get("subjects", people - holdout - figures)
    if subjects < 2 or subjects + holdout + figures > people:
        needed = f"{subjects} subjects, {holdout} holdout people and {figures} public figures"
        raise ValueError(
            f"there are {people} people with enough photographs, too few for {needed}; set --subjects, --holdout and "
            "--figures, or ask for fewer --images."
        )
    return {"subjects": subjects, "holdout": holdout, "figures": figures}


def _progress(args: argparse.Namespace) -> Any:
    if args.quiet or not sys.stderr.isatty():
        return None

    def show(done: int, total: int) -> None:
        end = "\n" if done == total else ""
        print(f"\rphotographs: {done}/{total}", end=end, file=sys.stderr, flush=True)

    return show
