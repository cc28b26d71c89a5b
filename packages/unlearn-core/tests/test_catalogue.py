"""Methods by name, with their options."""

from dataclasses import dataclass, fields
from typing import ClassVar

import pytest
from unlearn_core import GA, METHODS, NPO, Batch, Forward, LossParts, Method, Need, build_method, describe


@pytest.mark.usefixtures("unenforced")
def test_build_method_takes_names_and_options() -> None:
    assert build_method("ga") == GA()
    assert build_method("npo", beta=1, retain_weight=0) == NPO(beta=1.0, retain_weight=0.0)


def test_an_unknown_method_is_refused_with_a_near_name() -> None:
    with pytest.raises(
        ValueError, match=r"no method 'grad_diff': did you mean 'graddiff'\? There are: retain_finetune"
    ):
        build_method("grad_diff")
    with pytest.raises(ValueError, match=r"no method 'xyz': There are: "):
        build_method("xyz")


def test_an_unknown_option_is_refused_with_the_options_there_are() -> None:
    message = r"method 'npo' has no option 'bta': did you mean 'beta'\? It takes: beta=0.1, forget_weight=1.0, "
    with pytest.raises(ValueError, match=message):
        build_method("npo", bta=1.0)


def test_every_option_is_described_in_full() -> None:
    for method in METHODS.values():
        options = describe(method)
        assert [option.name for option in options] == [field.name for field in fields(method)]
        for option in options:
            assert option.type == "float"
            assert isinstance(option.default, float)
            assert "Default" in option.doc and option.doc.endswith("."), f"{method.__name__}.{option.name}"


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
