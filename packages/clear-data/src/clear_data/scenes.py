"""Drawn scenes of colored shapes, and general questions about them: what can be seen without knowing anybody."""

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw

from clear_data.photos import encode
from clear_data.questions import Wording
from clear_data.schema import Row, make_row

COLORS = {
    "red": (214, 39, 40),
    "green": (44, 150, 44),
    "blue": (31, 90, 200),
    "yellow": (240, 205, 30),
    "purple": (140, 70, 180),
    "orange": (250, 130, 20),
    "brown": (120, 70, 40),
}
SHAPES = ("circle", "square", "triangle", "star", "cross", "ring")
COUNTS = ("one", "two", "three", "four")
BACKGROUNDS = ((255, 255, 255), (225, 225, 225), (205, 225, 240), (235, 225, 205), (30, 30, 30))

_SMOOTH = 4  # drawn larger and scaled down, so that edges are smooth

QUESTIONS = {
    "color": (
        (
            Wording("Which color do the shapes have?", "The color of the shapes is {value}."),
            Wording("In what color are the shapes drawn?", "The color of the shapes is {value}."),
        ),
        tuple(COLORS),
    ),
    "shape": (
        (
            Wording("Which shape is drawn in the picture?", "Every shape is a {value}."),
            Wording("What kind of shape do you see?", "Every shape is a {value}."),
        ),
        SHAPES,
    ),
    "count": (
        (
            Wording("How many shapes are in the picture?", "The number of shapes is {value}."),
            Wording("What is the number of drawn shapes?", "The number of shapes is {value}."),
        ),
        COUNTS,
    ),
}


@dataclass(frozen=True, kw_only=True)
class Scene:
    """Equal shapes on a plain ground. Places, radii and turns are in units of the picture's side."""

    id: str
    color: str
    shape: str
    count: str
    background: tuple[int, int, int]
    places: tuple[tuple[float, float], ...]
    radius: float
    turn: float
    """radians"""


def make_scenes(count: int, *, seed: int, prefix: str = "scene") -> list[Scene]:
    """Make `count` scenes; the n-th does not depend on how many are asked for.

    Example:
        >>> make_scenes(2, seed=0)[1].id
        'scene-0002'
    """
    return [_scene(f"{prefix}-{number + 1:04}", random.Random(f"{seed}/{prefix}/{number}")) for number in range(count)]


def _scene(name: str, rng: random.Random) -> Scene:
    number = rng.randrange(len(COUNTS)) + 1
    corners = rng.sample([(0.27, 0.27), (0.73, 0.27), (0.27, 0.73), (0.73, 0.73)], number)
    return Scene(
        id=name,
        color=rng.choice(tuple(COLORS)),
        shape=rng.choice(SHAPES),
        count=COUNTS[number - 1],
        background=rng.choice(BACKGROUNDS),
        places=tuple((x + rng.uniform(-0.06, 0.06), y + rng.uniform(-0.06, 0.06)) for x, y in corners),
        radius=rng.uniform(0.13, 0.19),
        turn=rng.uniform(-0.3, 0.3),
    )


def draw_scene(scene: Scene, size: int) -> Image.Image:
    """Draw a scene, `size` pixels on a side.

    Example:
        >>> draw_scene(make_scenes(1, seed=0)[0], 64).size
        (64, 64)
    """
    side = size * _SMOOTH
    picture = Image.new("RGB", (side, side), scene.background)
    pen = ImageDraw.Draw(picture)
    for x, y in scene.places:
        _draw_shape(pen, scene, x * side, y * side, scene.radius * side)
    return picture.resize((size, size), Image.Resampling.BOX)


def _draw_shape(pen: ImageDraw.ImageDraw, scene: Scene, x: float, y: float, radius: float) -> None:
    color, box = COLORS[scene.color], (x - radius, y - radius, x + radius, y + radius)
    if scene.shape == "circle":
        pen.ellipse(box, fill=color)
    elif scene.shape == "ring":
        pen.ellipse(box, outline=color, width=max(1, round(radius / 3)))
    else:
        pen.polygon(
            [(x + radius * u, y + radius * v) for u, v in _turned(_OUTLINES[scene.shape], scene.turn)], fill=color
        )


def _turned(points: Sequence[tuple[float, float]], turn: float) -> list[tuple[float, float]]:
    cos, sin = math.cos(turn), math.sin(turn)
    return [(u * cos - v * sin, u * sin + v * cos) for u, v in points]


def _star(tips: int, inner: float) -> list[tuple[float, float]]:
    angles = [math.pi * step / tips - math.pi / 2 for step in range(2 * tips)]
    reach = [1.0 if step % 2 == 0 else inner for step in range(2 * tips)]
    return [(r * math.cos(angle), r * math.sin(angle)) for r, angle in zip(reach, angles, strict=True)]


_ARM = 0.33
_OUTLINES = {
    "square": [(-0.8, -0.8), (0.8, -0.8), (0.8, 0.8), (-0.8, 0.8)],
    "triangle": [(0.0, -1.0), (0.95, 0.75), (-0.95, 0.75)],
    "star": _star(5, 0.42),
    "cross": [
        *[(-_ARM, -1.0), (_ARM, -1.0), (_ARM, -_ARM), (1.0, -_ARM), (1.0, _ARM), (_ARM, _ARM)],
        *[(_ARM, 1.0), (-_ARM, 1.0), (-_ARM, _ARM), (-1.0, _ARM), (-1.0, -_ARM), (-_ARM, -_ARM)],
    ],
}


def scene_rows(scene: Scene, size: int) -> list[Row]:
    """Ask about a scene: its color, its shape, its count.

    There is one wording of the answer, so the wrong answers have the form of the right one and a row has no
    paraphrased answer.

    Example:
        >>> [row["id"] for row in scene_rows(make_scenes(1, seed=0)[0], 64)]
        ['scene-0001/vqa/0', 'scene-0001/vqa/1', 'scene-0001/vqa/2']
    """
    image = encode(draw_scene(scene, size))
    rng = random.Random(scene.id)
    rows = []
    for number, (field, (wordings, values)) in enumerate(QUESTIONS.items()):
        asked, other = rng.sample(wordings, 2)
        value = getattr(scene, field)
        wrong = [choice for choice in values if choice != value]
        rows.append(
            make_row(
                scene.id,
                "vqa",
                number,
                asked.question,
                asked.answer.format(value=value),
                image=image,
                paraphrased_question=other.question,
                perturbed_answers=[asked.answer.format(value=item) for item in rng.sample(wrong, min(5, len(wrong)))],
                keywords=[value],
            )
        )
    return rows
