"""Which method unlearns, with which options and transforms: read from plain values, as files and flags have them."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from unlearn_core import Edit, Guard, Method, Transform


class Recipe(NamedTuple):
    """A method and what its gradients go through."""

    method: "Method | Edit | Guard"
    transforms: "tuple[Transform, ...]" = ()


def read_recipe(name: str, given: Mapping[str, Any]) -> Recipe:
    """Make a recipe from its name and options.

    Args:
        name: of the method, if `method` does not say another; `npo+sam` is the method npo with the transform sam.
        given: options of the method; and `method`, its name; and `transforms`, a list of names or options by name, the
            first coming first after the loss. An option that is itself a method takes a name, or options with the
            name as `method`.

    Example:
        >>> read_recipe("npo+sam", {"beta": 0.5, "transforms": {"sam": {"rho": 0.1}}})
        Recipe(method=NPO(beta=0.5, forget_weight=1.0, retain_weight=1.0), transforms=(SAM(rho=0.1),))

    Raises:
        TypeError: an option has the wrong type.
        ValueError: there is no such method, transform or option, or it is out of its range.
    """
    from unlearn_core import Transform, build_method

    main, *named = name.split("+")
    options = {key: value for key, value in given.items() if key not in ("method", "transforms")}
    method = build_method(str(given.get("method", main)), **options)
    if isinstance(method, Transform):
        raise ValueError(
            f"`{main}` is a gradient transform: choose a loss method, and give this to it (`--transform {main}`)."
        )
    asked: dict[str, Mapping[str, Any]] = {transform: {} for transform in named}
    asked |= _transforms(given.get("transforms", {}))
    recipe = Recipe(method, tuple(_transform(transform, options) for transform, options in asked.items()))
    _check_fit(recipe)
    return recipe


def _check_fit(recipe: Recipe) -> None:
    from unlearn_core import SKU, Method

    # SKU is run as an edit: its loss learns what is to be forgotten
    has_gradients = isinstance(recipe.method, Method) and not isinstance(recipe.method, SKU)
    if recipe.transforms and not has_gradients:
        raise ValueError(
            f"{recipe.method} has no gradients that {recipe.transforms[0]} could transform; choose a loss method."
        )


def _transforms(given: Any) -> dict[str, Mapping[str, Any]]:
    asked = given if isinstance(given, Mapping) else {name: {} for name in given} if isinstance(given, list) else None
    if asked is None or not all(isinstance(options, Mapping) for options in asked.values()):
        raise ValueError(f"`transforms` takes a list of names, or options by name, got {given!r}.")
    return dict(asked)


def _transform(name: str, options: Mapping[str, Any]) -> "Transform":
    from unlearn_core import Transform, build_method

    transform = build_method(name, **options)
    if not isinstance(transform, Transform):
        raise ValueError(f"`{name}` is no gradient transform; `unlearn methods` lists those there are.")
    return transform
