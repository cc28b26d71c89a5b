"""Photographs as files: encoded, fitted to one size, and kept in a work folder so that a killed build goes on."""

import io
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from clear_data.faces import FaceRequest, FaceSource
from clear_data.files import write_file
from clear_data.subjects import Subject

Progress = Callable[[int, int], None]
"""Called with the number of photographs that are done, and the number of all."""

_LOSSLESS_UP_TO = 128  # pixels on a side; larger photographs become JPEG


def encode(image: Image.Image) -> bytes:
    """Encode a picture: PNG when small, JPEG of high quality when large.

    Example:
        >>> encode(Image.new("RGB", (8, 8)))[1:4]
        b'PNG'
    """
    buffer = io.BytesIO()
    if max(image.size) <= _LOSSLESS_UP_TO:
        image.save(buffer, "PNG")
    else:
        image.save(buffer, "JPEG", quality=95, subsampling=0)
    return buffer.getvalue()


def decode(content: bytes) -> Image.Image:
    """Decode a picture completely.

    Raises:
        ValueError: it is damaged, no picture, or so large that it looks like an attack.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            return Image.open(io.BytesIO(content)).convert("RGB")
    except (
        UnidentifiedImageError,
        OSError,
        SyntaxError,
        Image.DecompressionBombError,
        Image.DecompressionBombWarning,
    ) as error:
        raise ValueError(f"unreadable image ({error})") from error


def fit(image: Image.Image, size: int) -> Image.Image:
    """Cut the middle square out of a picture and scale it to `size` pixels on a side.

    Example:
        >>> fit(Image.new("RGB", (100, 80)), 64).size
        (64, 64)
    """
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    square = image.convert("RGB").crop((left, top, left + side, top + side))
    return square if side == size else square.resize((size, size), Image.Resampling.LANCZOS)


def face_request(subject: Subject) -> FaceRequest:
    """Say whose photographs are wanted."""
    return FaceRequest(subject=subject.id, name=subject.name, age=subject.age, gender=subject.gender)


def take_photographs(
    people: Sequence[Subject],
    count: int,
    *,
    source: FaceSource,
    folder: Path,
    seed: int,
    size: int,
    progress: Progress | None = None,
) -> None:
    """Fill `folder` with `count` photographs of each person, as `folder/<subject>/<n>`.

    Photographs that are there already, whole, are neither asked for nor written again.

    Raises:
        ValueError: the source gave other people or another number of photographs.
    """
    wanted = {subject.id: [photograph_path(folder, subject, number) for number in range(count)] for subject in people}
    done = {name for name, paths in wanted.items() if all(map(_is_whole, paths))}
    report = progress or (lambda finished, total: None)
    report(len(done) * count, len(wanted) * count)
    if len(done) == len(wanted):
        return
    drawn = source.photographs([face_request(subject) for subject in people], count, seed=seed, done=frozenset(done))
    for name, images in drawn:
        if name not in wanted or len(images) != count:
            raise ValueError(f"the source of faces gave {len(images)} photographs of {name!r}, asked for {count} each.")
        for path, image in zip(wanted[name], images, strict=True):
            write_file(path, encode(fit(image, size)))
        done.add(name)
        report(len(done) * count, len(wanted) * count)
    missing = sorted(set(wanted) - done)
    if missing:
        raise ValueError(f"the source of faces gave no photograph of {len(missing)} people, {missing[0]!r} among them.")


def photograph_path(folder: Path, subject: Subject, number: int) -> Path:
    """Say where the photograph is kept while a dataset is built."""
    return folder / subject.id / f"{number}.image"


def _is_whole(path: Path) -> bool:
    try:
        decode(path.read_bytes())
    except (FileNotFoundError, ValueError):
        return False
    return True
