"""Photographs that the user has."""

from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

from PIL.Image import Image

from clear_data.faces._base import FaceRequest, FaceSource, Person, Photographs, check_requests
from clear_data.faces._files import digest_of, hash_files, inside, open_image, read_albums
from clear_data.faces._match import match


class FolderFaces(FaceSource):
    """Photographs from a folder, one person of it for each subject.

    The folder holds `persons.json`, a list of `{"person", "age", "gender", "images"}`, or one sub-folder a person.
    With ages and genders, a subject gets a person of its gender, nearest in age; without, both are paired in the
    order of their names.

    Args:
        folder: Where the photographs are.

    Raises:
        ValueError: The folder has neither layout, or names a file that lies outside it.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self._albums = {album.person.id: album for album in read_albums(self.folder)}
        for album in self._albums.values():
            for name in album.files:
                inside(self.folder, name)

    def persons(self) -> Sequence[Person]:
        """Whose photographs the folder has."""
        return [album.person for album in self._albums.values()]

    def having(self, count: int) -> Sequence[Person]:
        """Whose photographs are `count` or more: the others cannot serve.

        Raises:
            ValueError: Nobody has so many.
        """
        able = [album.person for album in self._albums.values() if len(album.files) >= count]
        if not able:
            most = max(len(album.files) for album in self._albums.values())
            raise ValueError(f"Nobody in {self.folder} has {count} photographs, {most} at most; ask for fewer images.")
        return able

    def photographs(
        self, requests: Sequence[FaceRequest], count: int, *, seed: int, done: Collection[str] = ()
    ) -> Iterator[Photographs]:
        """Yield the first `count` photographs of the person that each subject gets."""
        check_requests(requests, count)
        able = self.having(count)  # whether they suffice is for `match` to say
        source = f"{self.folder} (persons with {count} photographs or more)"
        chosen = match(requests, able, seed=seed, source=source)
        return ((r.subject, self.album(chosen[r.subject], count)) for r in requests if r.subject not in done)

    def album(self, person: str, count: int) -> list[Image]:
        """Read the first `count` photographs of a person."""
        paths = [inside(self.folder, name) for name in self._albums[person].files[:count]]
        return [open_image(path, name=str(path)) for path in paths]

    def describe(self) -> dict[str, object]:
        """The hash of all photographs, and how many persons there are."""
        names = [name for album in self._albums.values() for name in album.files]
        try:
            digest = hash_files(self.folder, names)
        except FileNotFoundError as error:
            raise ValueError(f"{error.filename} is listed but is not there.") from error
        except OSError as error:
            raise ValueError(f"A photograph cannot be read: {error}.") from error
        who = [(p.id, p.age, p.gender) for p in self.persons()]
        return {"kind": "folder", "persons": len(who), "photographs": digest, "listing": digest_of(who)}
