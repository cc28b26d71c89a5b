"""Faces, and what each model now answers about them."""

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from unlearn_metrics.report._html import Html, element
from unlearn_metrics.report._results import state_title

if TYPE_CHECKING:
    from PIL.Image import Image

_SIGNATURES = {b"\x89PNG\r\n\x1a\n": "png", b"\xff\xd8\xff": "jpeg", b"GIF8": "gif"}
_LARGEST = 320  # pixels on the longer side; more only makes the file heavy


@dataclass(frozen=True, kw_only=True, eq=False)
class GalleryItem:
    """A question about a subject, and the models' answers.

    Attributes:
        subject: Whom it is about.
        group: Whether the subject was to be forgotten or to be kept.
        question: What was asked.
        expected: The right answer.
        answers: What each state answered.
        image: What was shown with the question: a PIL image, or the bytes of a PNG, JPEG or GIF file; `None` for text.
    """

    subject: str
    group: Literal["forgotten", "kept"]
    question: str
    expected: str
    answers: Mapping[str, str]
    image: "Image | bytes | None" = None

    def __post_init__(self) -> None:
        if self.group not in ("forgotten", "kept"):
            raise ValueError(f"`group` must be 'forgotten' or 'kept', got {self.group!r}.")


def gallery(items: Sequence[GalleryItem]) -> Html:
    """The items, forgotten and kept subjects apart."""
    groups = (("forgotten", "To be forgotten"), ("kept", "To be kept"))
    columns = []
    for group, title in groups:
        cards = [_card(item) for item in items if item.group == group]
        if cards:
            columns.append(element("div", element("h3", title), *cards))
    return element("div", *columns, class_="gallery")


def _card(item: GalleryItem) -> Html:
    answers = (
        element("tr", element("th", state_title(state), scope="row"), element("td", answer or "(no answer)"))
        for state, answer in item.answers.items()
    )
    right = element("tr", element("th", "Right answer", scope="row"), element("td", item.expected), class_="expected")
    picture = "" if item.image is None else _image(item.image, item.subject)
    asked = element("div", element("h4", item.subject), element("p", item.question))
    return element("article", element("header", picture, asked), element("table", element("tbody", right, *answers)))


def _image(image: "Image | bytes", subject: str) -> Html:
    data, kind = (image, _kind(image, subject)) if isinstance(image, bytes) else _encode(image)
    source = f"data:image/{kind};base64,{base64.b64encode(data).decode('ascii')}"
    return Html(element("img", src=source, alt=f"The photograph shown: {subject}").removesuffix("</img>"))


def _kind(data: bytes, subject: str) -> str:
    for signature, kind in _SIGNATURES.items():
        if data.startswith(signature):
            return kind
    raise ValueError(f"the image of {subject!r} is no PNG, JPEG or GIF file: it starts with {data[:8]!r}.")


def _encode(image: "Image") -> tuple[bytes, str]:
    image = image.convert("RGB")
    image.thumbnail((_LARGEST, _LARGEST))
    buffer = io.BytesIO()
    image.save(buffer, format="PNG")
    return buffer.getvalue(), "png"
