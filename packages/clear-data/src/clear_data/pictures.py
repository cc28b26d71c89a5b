"""The different pictures of a dataset, each once, by subject."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import datasets


class Picture(NamedTuple):
    """A picture as it is stored.

    Attributes:
        row: id of the first row that has it.
        subject: whom or what it shows.
        content: the encoded file.
    """

    row: str
    subject: str
    content: bytes


def pictures(rows: "datasets.Dataset") -> Iterator[Picture]:
    """List the different pictures of rows, in the order of the rows."""
    from datasets import Image

    seen: set[bytes] = set()
    stored = rows.select_columns(["id", "subject", "image"]).cast_column("image", Image(decode=False))
    for batch in stored.iter(batch_size=256):
        for row, subject, image in zip(batch["id"], batch["subject"], batch["image"], strict=True):
            if image is not None and image["bytes"] not in seen:
                seen.add(image["bytes"])
                yield Picture(row, subject, image["bytes"])
