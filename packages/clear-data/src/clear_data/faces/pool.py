"""The portrait pool: faces of fictitious adults, one for each subject."""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL.Image import Image

from clear_data.faces._base import GENDERS, FaceRequest, Person
from clear_data.faces._files import digest_of, inside, open_image, read_albums
from clear_data.faces._match import match

SHIPPED = Path(__file__).parents[1] / "assets" / "pool"
TABLE = "portraits.parquet"
_COLUMNS = ("person", "age", "gender", "image")


@dataclass(frozen=True)
class PortraitPool:
    """Portraits with age and gender, from which each subject takes one.

    Attributes:
        persons: Whose portraits there are.
        images: The encoded image of each person, as it was on disk.
        name: What the pool is, for messages.
    """

    persons: Sequence[Person]
    images: Mapping[str, bytes]
    name: str = "the portrait pool"

    @classmethod
    def load(cls, folder: str | Path | None = None) -> "PortraitPool":
        """Read a pool.

        Args:
            folder: A folder with `persons.json`, a list of `{"person", "age", "gender", "images"}` of which the first
                image is the portrait; or with `portraits.parquet`, columns `person`, `age`, `gender`, `image` (the
                encoded file). The pool that ships with the package where it is None.

        Raises:
            ValueError: The folder has neither layout, an age or gender is missing, or an image cannot be read.
        """
        place = SHIPPED if folder is None else Path(folder)
        name = "the portrait pool" if folder is None else f"the portrait pool {place}"
        if (place / TABLE).is_file():
            return cls(*_read_table(place / TABLE), name=name)
        return cls(*_read_folder(place), name=name)

    def portrait(self, person: str) -> Image:
        """Give the portrait of a person as an RGB image.

        Raises:
            ValueError: It cannot be read as an image.
        """
        return open_image(io.BytesIO(self.images[person]), name=f"the portrait of {person!r} in {self.name}")

    def assign(self, requests: Sequence[FaceRequest], *, seed: int) -> dict[str, str]:
        """Give each subject a person of its gender and nearest to its age, none twice.

        Raises:
            ValueError: There are too few portraits of a gender; says how many are needed and how many there are.
        """
        return match(requests, self.persons, seed=seed, source=self.name)

    def digest(self) -> str:
        """Hash everything that decides which face a subject gets and what it looks like."""
        from hashlib import sha256

        rows = [(p.id, p.age, p.gender, sha256(self.images[p.id]).hexdigest()) for p in self.persons]
        return digest_of(sorted(rows))


def _read_table(path: Path) -> tuple[list[Person], dict[str, bytes]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        rows = pq.read_table(path, columns=list(_COLUMNS)).to_pylist()
    except (pa.ArrowException, OSError) as error:
        raise ValueError(f"{path} cannot be read; it must have the columns {_COLUMNS}: {error}") from error
    persons = [Person(id=str(row["person"]), age=row["age"], gender=row["gender"]) for row in rows]
    _check_persons(persons, path)
    return persons, {str(row["person"]): row["image"] for row in rows}


def _read_folder(folder: Path) -> tuple[list[Person], dict[str, bytes]]:
    albums = read_albums(folder)
    _check_persons([album.person for album in albums], folder)
    images = {}
    for album in albums:
        path = inside(folder, album.files[0])
        open_image(path, name=str(path))
        images[album.person.id] = path.read_bytes()
    return [album.person for album in albums], images


def _check_persons(persons: Sequence[Person], place: Path) -> None:
    for person in persons:
        if not isinstance(person.age, int) or person.gender not in GENDERS:
            got = f"got {person.age!r} and {person.gender!r}"
            raise ValueError(f"{place}: person {person.id!r} needs a whole age and a gender of {GENDERS}, {got}.")
    if len({person.id for person in persons}) < len(persons):
        raise ValueError(f"{place}: a person is listed twice.")
