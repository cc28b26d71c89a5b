"""Prompts in the form that CLEAR used, with another setting for each photograph."""

import string
from random import Random

from clear_data.faces._base import FaceRequest, derived_seed

TEMPLATE = "a real photo of a {old} {gender} called {name} img, showing face, {setting}."
FIELDS = ("old", "gender", "name", "setting", "ethnicity")

PLACES = (
    "at home by a window", "in a park", "in a city street", "in an office", "in front of a bookshelf", "at the seaside",
    "in a kitchen", "on a balcony", "in a garden", "in a cafe", "on a mountain path", "in front of a plain wall",
)  # fmt: skip
LIGHTS = ("soft daylight", "warm evening light", "overcast light", "studio light", "morning sun", "lamp light")
VIEWS = (
    "close-up",
    "head and shoulders",
    "three-quarter view",
    "looking at the camera",
    "slight smile",
    "serious look",
)


def check_template(template: str) -> None:
    """Refuse a template that names an unknown field.

    Example:
        >>> check_template("a photo of {name}, {setting}")
    """
    try:
        named = {field for _, field, _, _ in string.Formatter().parse(template) if field is not None}
    except ValueError as error:
        raise ValueError(f"`prompt` is no valid template: {error}; double a brace that is meant.") from error
    if not named <= set(FIELDS):
        raise ValueError(f"`prompt` may name {FIELDS}, got {sorted(named - set(FIELDS))}.")


def prompt_for(request: FaceRequest, index: int, *, seed: int, template: str = TEMPLATE) -> str:
    """Write the prompt of one photograph.

    Example:
        >>> ada = FaceRequest(subject="s1", name="Ada Okafor", age=41, gender="female")
        >>> prompt_for(ada, 0, seed=0, template="a real photo of a {old} {gender} called {name} img, showing face.")
        'a real photo of a 41 years old female called Ada Okafor img, showing face.'
    """
    rng = Random(derived_seed(seed, request.subject, index, "setting"))
    setting = ", ".join(rng.choice(options) for options in (VIEWS, PLACES, LIGHTS))
    return template.format(
        old=f"{request.age} years old",
        gender=request.gender,
        name=request.name,
        setting=setting,
        ethnicity=request.ethnicity or "",
    )
