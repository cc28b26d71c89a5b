"""Methods by name, with their options."""

from dataclasses import dataclass, fields
from typing import ClassVar

import pytest
from unlearn_core import (
    CATALOGUE,
    EDITS,
    GA,
    GRU,
    GUARDS,
    METHODS,
    NPO,
    TRANSFORMS,
    Batch,
    Edit,
    Forward,
    Guard,
    LossParts,
    Method,
    Need,
    Transform,
    build_method,
    describe,
    explain,
)


@pytest.mark.usefixtures("unenforced")
def test_build_method_takes_names_and_options() -> None:
    assert build_method("ga") == GA()
    assert build_method("npo", beta=1, retain_weight=0) == NPO(beta=1.0, retain_weight=0.0)


@pytest.mark.usefixtures("unenforced")
def test_an_unknown_method_is_refused_with_a_near_name() -> None:
    with pytest.raises(
        ValueError, match=r"no method 'grad_diff': did you mean 'graddiff'\? `unlearn_core.CATALOGUE` lists them"
    ):
        build_method("grad_diff")
    with pytest.raises(ValueError, match=r"no method 'xyz': `unlearn_core.CATALOGUE`"):
        build_method("xyz")
    for name, method in CATALOGUE.items():
        with pytest.raises(ValueError, match=f"no method '{name.upper()}': did you mean '{name}'"):
            build_method(name.upper())
        with pytest.raises(ValueError, match=f"no method '{name}_': did you mean '{name}'"):
            build_method(f"{name}_")
        with pytest.raises(TypeError, match=f"`name` must be the name of a method, got .*{method.__name__}"):
            build_method(method)


def test_an_unknown_option_is_refused_with_the_options_there_are() -> None:
    message = r"method 'npo' has no option 'bta': did you mean 'beta'\? It takes: beta=0.1, forget_weight=1.0, "
    with pytest.raises(ValueError, match=message):
        build_method("npo", bta=1.0)


def test_every_option_is_described_in_full() -> None:
    for method in CATALOGUE.values():
        options = describe(method)
        assert [option.name for option in options] == [field.name for field in fields(method)]
        for option in options:
            assert "Default" in option.doc and option.doc.endswith("."), f"{method.__name__}.{option.name}"
            assert getattr(method(), option.name) == option.default


def test_the_catalogue_holds_every_kind_and_no_name_twice() -> None:
    kinds = {"loss": (METHODS, Method), "transform": (TRANSFORMS, Transform), "edit": (EDITS, Edit)}
    kinds["guard"] = (GUARDS, Guard)
    assert len(CATALOGUE) == sum(len(table) for table, _ in kinds.values())
    for kind, (table, base) in kinds.items():
        for name, method in table.items():
            assert CATALOGUE[name] is method
            assert issubclass(method, base) and method.kind == kind


@pytest.mark.parametrize("name", CATALOGUE)
def test_every_page_is_whole(name: str) -> None:
    method = CATALOGUE[name]
    assert "https://" in method.paper
    assert method.summary.endswith(".") and "\n" not in method.summary and len(method.summary) <= 105
    title, _, text = explain(method).partition("\n\n")
    assert title.endswith(".") and len(text) > 80, "the formula, and which way each term pushes"
    assert repr(build_method(name)).startswith(f"{method.__name__}(")
    assert build_method(name) == method() and hash(method()) == hash(build_method(name))


def test_transforms_are_built_by_name() -> None:
    assert build_method("gru", average=0.5) == GRU(average=0.5)
    with pytest.raises(ValueError, match=r"method 'gru' has no option 'rho': It takes: average=0.8"):
        build_method("gru", rho=1.0)


def test_a_doc_over_several_lines_is_joined_and_a_missing_one_is_empty() -> None:
    @dataclass(frozen=True, kw_only=True)
    class Toy(Method):
        """A toy.

        Attributes:
            first: One line
                and another.
            second: Short.
        """

        paper: ClassVar[str] = "none"
        summary: ClassVar[str] = "Does nothing."
        needs: ClassVar[frozenset[Need]] = frozenset()
        first: float = 1.0
        second: int | None = None
        third: str = "x"

        def loss(self, forward: Forward, forget: Batch | None, retain: Batch | None) -> LossParts:
            raise NotImplementedError

    assert [tuple(option) for option in describe(Toy)] == [
        ("first", "float", 1.0, "One line and another."),
        ("second", "int | None", None, "Short."),
        ("third", "str", "x", ""),
    ]
