"""Builds a dataset: people, questions and photographs. Repeatable to the byte; a killed build goes on where it was."""

import json
import logging
import shutil
from collections import Counter
from dataclasses import asdict
from hashlib import blake2b
from importlib.metadata import version
from pathlib import Path
from typing import Any

from clear_data.card import dataset_card
from clear_data.checker import check_rows
from clear_data.content import (
    BuildOptions,
    Content,
    content_digest,
    content_profiles,
    content_rows,
    content_sets,
    make_content,
)
from clear_data.faces import FaceSource
from clear_data.files import fresh_folder, put_in_place, require_replaceable, write_file
from clear_data.photos import Progress, face_request, photograph_path, take_photographs
from clear_data.table import ROWS, RowSets, load, write_folder

RECORD = "build.json"
log = logging.getLogger(__name__)


def build(
    options: BuildOptions, source: FaceSource, out: str | Path, progress: Progress | None = None, *, force: bool = False
) -> RowSets:
    """Build a dataset folder, or return the one that the same options and source have built.

    Work in progress is kept in `<out>.partial`; a build that was killed takes its photographs up from there.

    Args:
        options: what to build.
        source: where the photographs come from.
        out: the folder; appears when everything is written and checked.
        progress: called with the photographs done and the photographs in all.
        force: replace a dataset that was built otherwise.

    Raises:
        ValueError: `out` holds something else, or the source cannot serve these people.

    Example:
        >>> import tempfile
        >>> from PIL import Image
        >>> from clear_data.faces import FolderFaces
        >>> folder = Path(tempfile.mkdtemp())
        >>> for person in ("anna", "ben", "cleo"):
        ...     (folder / "faces" / person).mkdir(parents=True)
        ...     Image.new("RGB", (32, 32)).save(folder / "faces" / person / "0.png")
        >>> options = BuildOptions(subjects=3, images=1, holdout=0, figures=0, scenes=2, unseen_scenes=2)
        >>> data = build(options, FolderFaces(folder / "faces"), folder / "people")
        >>> len(data.sets["forget10"]), len(data.sets["retain90"])
        (1, 2)
    """
    out = Path(out)
    content = make_content(options, source.persons())
    record = _record(options, source, content)
    if out.exists() and not force:
        _require_same(out, record)
        log.info("%s is already built.", out)
        return load(out)
    require_replaceable(out, ROWS)
    partial = _work_folder(out.with_name(f"{out.name}.partial"), record["photographs"])
    photographs = partial / "photographs"
    take_photographs(
        content.people,
        options.images,
        source=source,
        folder=photographs,
        seed=options.seed,
        size=options.size,
        progress=progress,
    )
    _write(fresh_folder(partial / "dataset"), content, options, record, photographs)
    data = load(partial / "dataset")
    for fault in check_rows(data).faults:
        raise ValueError(f"the dataset that was built is at fault, please report it: {fault}")
    put_in_place(partial / "dataset", out)
    shutil.rmtree(partial)
    return data


def _record(options: BuildOptions, source: FaceSource, content: Content) -> dict[str, Any]:
    """Describe a build. Its keys cover everything upstream: `photographs` of the pictures, `rows` of all the rest."""
    described = source.describe()
    requests = [asdict(face_request(person)) for person in content.people]
    upstream = [requests, options.images, options.seed, options.size, described]
    digest = blake2b(json.dumps(upstream, sort_keys=True).encode(), digest_size=16).hexdigest()
    return {
        "versions": {name: version(name) for name in ("clear-data", "Faker", "pillow")},
        "options": asdict(options),
        "source": described,
        "photographs": digest,
        "rows": content_digest(content, options),
    }


def _require_same(out: Path, record: dict[str, Any]) -> None:
    try:
        found = json.loads((out / RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise ValueError(
            f"{out} is there and was not built here; choose another folder, or --force to replace it."
        ) from None
    if not isinstance(found, dict) or any(found.get(key) != record[key] for key in ("photographs", "rows")):
        raise ValueError(
            f"{out} holds another dataset{_difference(found, record)}; choose another folder, or --force to replace it."
        )


def _difference(found: Any, record: dict[str, Any]) -> str:
    before = found.get("options") if isinstance(found, dict) else None
    changed = [
        f"{name} {before.get(name)} instead of {value}"
        for name, value in record["options"].items()
        if isinstance(before, dict) and before.get(name) != value
    ]
    return f" ({', '.join(changed)})" if changed else ""


def _work_folder(partial: Path, key: str) -> Path:
    """Take up the work folder of a killed build, or start afresh where that was another build."""
    if partial.exists():
        try:
            same = (partial / "key").read_text(encoding="utf-8") == key
        except OSError:
            same = False
        if same:
            log.info("going on with the photographs in %s.", partial)
            return partial
        log.info("%s is of a build with other options: starting afresh.", partial)
    write_file(fresh_folder(partial) / "key", key.encode())
    return partial


def _write(folder: Path, content: Content, options: BuildOptions, record: dict[str, Any], photographs: Path) -> None:
    counts: Counter[str] = Counter()

    def read(person: Any) -> list[bytes]:
        return [photograph_path(photographs, person, number).read_bytes() for number in range(options.images)]

    def counted() -> Any:
        for row in content_rows(content, options, read):
            counts[row["task"]] += 1
            yield row

    sets = content_sets(content, seed=options.seed)
    write_folder(folder, counted(), sets, subjects=content_profiles(content))
    write_file(folder / "README.md", dataset_card(record, sets, counts).encode())
    write_file(folder / RECORD, json.dumps(record, indent=1).encode() + b"\n")
