"""A contact sheet: every subject of a dataset with its pictures and name, to be looked at."""

from PIL import Image, ImageDraw, ImageFont

from clear_data.photos import decode
from clear_data.pictures import pictures
from clear_data.table import RowSets

_THUMB, _GAP, _LABEL = 96, 4, 190  # pixels


def contact_sheet(data: RowSets, *, set_name: str | None = None, limit: int = 60) -> Image.Image:
    """Draw a line for each subject that has pictures: its name, then the pictures.

    Args:
        data: the dataset.
        set_name: show the subjects of this set alone.
        limit: subjects to show, in the order of the rows.

    Raises:
        ValueError: `limit` is below 1, or nothing in the set has a picture.
    """
    if limit < 1:
        raise ValueError(f"`limit` must be at least 1, got {limit}.")
    rows = data.rows if set_name is None else data.select(set_name)
    shown: dict[str, list[Image.Image]] = {}
    for picture in pictures(rows):
        if len(shown) == limit and picture.subject not in shown:
            break
        thumb = decode(picture.content).resize((_THUMB, _THUMB), Image.Resampling.LANCZOS)
        shown.setdefault(picture.subject, []).append(thumb)
    if not shown:
        raise ValueError(f"{'the dataset' if set_name is None else f'set {set_name}'} has no picture to show.")
    return _paste(shown, {subject: _label(subject, data) for subject in shown})


def _paste(shown: dict[str, list[Image.Image]], labels: dict[str, str]) -> Image.Image:
    step = _THUMB + _GAP
    width = _LABEL + step * max(map(len, shown.values()))
    sheet = Image.new("RGB", (width, _GAP + step * len(shown)), "white")
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(13)
    for line, (subject, images) in enumerate(shown.items()):
        top = _GAP + line * step
        pen.multiline_text((_GAP, top + 30), labels[subject], fill="black", font=font)
        for column, image in enumerate(images):
            sheet.paste(image, (_LABEL + column * step, top))
    return sheet


def _label(subject: str, data: RowSets) -> str:
    """Name of a subject, and the smallest set that it is in."""
    name = subject.replace("-", " ").title()
    smallest = min(
        (name for name, members in data.sets.items() if subject in members), key=lambda n: len(data.sets[n]), default=""
    )
    return f"{name}\n{smallest}"
