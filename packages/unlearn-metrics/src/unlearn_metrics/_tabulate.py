"""Tables of text cells for a terminal, Markdown or LaTeX."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

ABSENT = "–"


class Cell(NamedTuple):
    """Text of a cell, and whether it is the best of its kind."""

    text: str
    best: bool = False


Row = Sequence[Cell]


def terminal(header: Sequence[str], rows: Sequence[Row], groups: Sequence[tuple[str, int]] = ()) -> str:
    """Columns aligned by spaces, the first to the left; the best cells carry a star.

    Args:
        header: Titles of the columns.
        rows: Cells, as many a row as there are titles.
        groups: Headings above the header, each with the count of columns below it; all columns together.

    Returns:
        The lines, without trailing spaces.
    """
    marked = any(cell.best for row in rows for cell in row)
    texts = [[cell.text + ("*" if cell.best else " " * marked) for cell in row] for row in rows]
    titles = [header[0], *(title + " " * marked for title in header[1:])]
    widths = [max(map(len, column)) for column in zip(titles, *texts, strict=True)]
    lines = [_group_line(groups, widths)] if groups else []
    lines += [_aligned(titles, widths), *(_aligned(row, widths) for row in texts)]
    return "\n".join(line.rstrip() for line in lines)


def markdown(header: Sequence[str], rows: Sequence[Row]) -> str:
    """A Markdown table, the best cells bold."""
    lines = [header, ["---", *["---:"] * (len(header) - 1)]]
    lines += [[f"**{cell.text}**" if cell.best else cell.text for cell in row] for row in rows]
    return "\n".join("| " + " | ".join(text.replace("|", r"\|") for text in line) + " |" for line in lines)


def latex(header: Sequence[str], rows: Sequence[Row]) -> str:
    """A LaTeX tabular (package booktabs), the best cells bold."""
    body = [[rf"\textbf{{{_tex(cell.text)}}}" if cell.best else _tex(cell.text) for cell in row] for row in rows]
    lines = [rf"\begin{{tabular}}{{l{'r' * (len(header) - 1)}}}", r"\toprule"]
    lines += [_tex_line([_tex(title) for title in header]), r"\midrule", *map(_tex_line, body)]
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}"])


FORMATS: Mapping[str, Callable[[Sequence[str], Sequence[Row]], str]] = {
    "terminal": terminal,
    "markdown": markdown,
    "latex": latex,
}


def _aligned(texts: Sequence[str], widths: Sequence[int]) -> str:
    first, *others = texts
    return "  ".join([first.ljust(widths[0]), *(map(str.rjust, others, widths[1:]))])


def _group_line(groups: Sequence[tuple[str, int]], widths: list[int]) -> str:
    """Headings, each in the middle above its columns; a group too narrow for its heading gets a wider last column."""
    pieces, start = [], 0
    for title, count in groups:
        end = start + count
        span = sum(widths[start:end]) + 2 * (count - 1)
        widths[end - 1] += max(0, len(title) - span)
        pieces.append(title.center(max(span, len(title)), " ") if count == 1 or not title else _ruled(title, span))
        start = end
    return "  ".join(pieces)


def _ruled(title: str, span: int) -> str:
    return f" {title} ".center(span, "-") if span > len(title) + 2 else title.center(span)


def _tex_line(texts: Sequence[str]) -> str:
    return " & ".join(texts) + r" \\"


def _tex(text: str) -> str:
    for symbol in "&%$#_{}":
        text = text.replace(symbol, "\\" + symbol)
    return text.replace("–", "--")
