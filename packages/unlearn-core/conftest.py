"""Enforces the shapes and types in signatures, in tests alone; it is above src and tests so that it comes first."""

from collections.abc import Iterator

import jaxtyping
import pytest

with jaxtyping.install_import_hook("unlearn_core", "beartype.beartype"):
    import unlearn_core  # noqa: F401


@pytest.fixture(autouse=True)
def _doctest_names(doctest_namespace: dict[str, object]) -> None:
    import torch

    doctest_namespace["torch"] = torch


@pytest.fixture
def unenforced() -> Iterator[None]:
    """Leaves signatures unchecked, as users have them, so that what refuses bad input is the code itself."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)
