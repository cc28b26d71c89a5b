"""How a photograph is taken: framing and light, drawn from a seed. No torch here."""

import math
from dataclasses import dataclass
from random import Random


@dataclass(frozen=True, kw_only=True)
class Framing:
    """Camera and light of one photograph, relative to the portrait; the defaults change nothing.

    Attributes:
        flip: Mirror left and right.
        zoom: Above 1 the camera is nearer.
        shift_x: -1 to 1: where, within what the zoom leaves free, the picture lies.
        shift_y: The same, downwards.
        rotation: Tilt of the camera in degrees.
        exposure: Light in natural-log units: 0.1 is about a tenth brighter.
        contrast: 1 leaves it.
        saturation: 1 leaves it.
        warmth: Above 0 redder, below 0 bluer, in natural-log units of the red and blue channels.
        light_angle: Direction that the light comes from, in degrees.
        light: How much brighter the lit edge is than the middle, in natural-log units.
    """

    flip: bool = False
    zoom: float = 1.0
    shift_x: float = 0.0
    shift_y: float = 0.0
    rotation: float = 0.0
    exposure: float = 0.0
    contrast: float = 1.0
    saturation: float = 1.0
    warmth: float = 0.0
    light_angle: float = 0.0
    light: float = 0.0

    @classmethod
    def draw(cls, seed: int) -> "Framing":
        """Draw one from the range that the shipped pipeline was trained on.

        Example:
            >>> Framing.draw(3) == Framing.draw(3) != Framing.draw(4)
            True
        """
        rng = Random(seed)
        return cls(
            flip=rng.random() < 0.5,
            zoom=math.exp(rng.uniform(0.0, 0.26)),
            shift_x=rng.uniform(-1, 1),
            shift_y=rng.uniform(-1, 1),
            rotation=rng.uniform(-9, 9),
            exposure=rng.uniform(-0.3, 0.25),
            contrast=rng.uniform(0.8, 1.15),
            saturation=rng.uniform(0.7, 1.2),
            warmth=rng.uniform(-0.12, 0.12),
            light_angle=rng.uniform(0, 360),
            light=rng.uniform(0, 0.4),
        )
