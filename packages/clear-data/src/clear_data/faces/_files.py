"""Photographs in a folder of somebody else's: read with care, refused by name."""

import hashlib
import io
import json
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from clear_data.faces._base import GENDERS, Person

PERSONS_FILE = "persons.json"
IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp"})


@dataclass(frozen=True, kw_only=True)
class Album:
    """One person and the files that show them, relative to the folder, in order."""

    person: Person
    files: tuple[str, ...]


def read_albums(folder: Path) -> list[Album]:
    """Read who is in a folder of photographs, in one of two layouts.

    `persons.json`: a list of `{"person": "p011", "age": 34, "gender": "female", "images": ["p011_0.jpg", ...]}`, age
    and gender given for all or for none. Without that file: one sub-folder a person, holding the photographs.

    Raises:
        ValueError: The folder is neither; says which entry is wrong.
    """
    if not folder.is_dir():
        raise ValueError(f"{folder} is no folder; name one that holds {PERSONS_FILE} or one sub-folder a person.")
    listing = folder / PERSONS_FILE
    albums = _listed(listing) if listing.is_file() else _sub_folders(folder)
    if not albums:
        raise ValueError(f"{folder} holds no photographs: neither {PERSONS_FILE} nor sub-folders with images.")
    _check_albums(albums, folder)
    return albums


def _listed(listing: Path) -> list[Album]:
    try:
        entries = json.loads(listing.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise ValueError(f"{listing} cannot be read as JSON: {error}.") from error
    if not isinstance(entries, list):
        raise ValueError(f"{listing} must hold a list of persons, got {type(entries).__name__}.")
    return [_entry(entry, f"{listing}, entry {number}") for number, entry in enumerate(entries, start=1)]


def _entry(entry: object, place: str) -> Album:
    if not isinstance(entry, dict) or not {"person", "images"} <= entry.keys():
        raise ValueError(f'{place}: needs "person" and "images", got {entry!r:.80}.')
    age, gender, images = entry.get("age"), entry.get("gender"), entry["images"]
    if not isinstance(images, list) or not images or not all(isinstance(name, str) for name in images):
        raise ValueError(f'{place}: "images" must be a list of file names, got {images!r:.80}.')
    if (age is None) != (gender is None) or gender not in (None, *GENDERS) or not isinstance(age, int | None):
        raise ValueError(
            f'{place}: "gender" must be one of {GENDERS} and "age" a whole number, got {gender!r}, {age!r}.'
        )
    return Album(person=Person(id=str(entry["person"]), age=age, gender=gender), files=tuple(images))


def _sub_folders(folder: Path) -> list[Album]:
    albums = []
    for place in sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")):
        names = sorted(path.name for path in place.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES)
        if names:
            files = tuple(f"{place.name}/{name}" for name in names)
            albums.append(Album(person=Person(id=place.name), files=files))
    return albums


def _check_albums(albums: list[Album], folder: Path) -> None:
    seen: set[str] = set()
    for album in albums:
        if album.person.id in seen:
            raise ValueError(f"{folder}: person {album.person.id!r} is listed twice.")
        seen.add(album.person.id)
    if len({album.person.gender is None for album in albums}) > 1:
        raise ValueError(f"{folder / PERSONS_FILE}: age and gender must be given for all persons or for none.")


def inside(folder: Path, name: str) -> Path:
    """Give the path of `name`, which must lie in `folder`, links followed.

    Raises:
        ValueError: The name is absolute, climbs out, or is a link that leads out.
    """
    path = folder / name
    if Path(name).is_absolute() or ".." in Path(name).parts or not path.resolve().is_relative_to(folder.resolve()):
        raise ValueError(f"{name!r} leaves the folder {folder}; photographs must lie inside it.")
    return path


def open_image(file: Path | io.BytesIO, *, name: str) -> Image.Image:
    """Read an image as RGB.

    Raises:
        ValueError: It is missing or cannot be read; calls it by `name`.
    """
    try:
        with Image.open(file) as image:
            return image.convert("RGB")
    except FileNotFoundError as error:
        raise ValueError(f"{name} is listed but is not there.") from error
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f"{name} cannot be read as an image: {error}. Replace or remove it.") from error


def hash_files(folder: Path, names: list[str]) -> str:
    """Hash names and contents of files, in the order of their names."""
    digest = hashlib.sha256()
    for name in sorted(names):
        with inside(folder, name).open("rb") as file:
            digest.update(f"{name}\0{hashlib.file_digest(file, 'sha256').hexdigest()}\n".encode())
    return digest.hexdigest()


def digest_of(value: object) -> str:
    """Hash a value made of lists, strings and numbers."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
