"""For all tests of the repository."""

import logging
import sys
from collections.abc import Iterator

import pytest
from hypothesis import settings

# How long an example takes says more about what else the machine does than about the code.
settings.register_profile("steady", settings(), deadline=None)
settings.load_profile("steady")


@pytest.fixture(autouse=True)
def _no_log_stays_open() -> Iterator[None]:
    """Undo what a command sets up for its log: the handler would write to a stream that is closed after the test."""
    yield
    root = logging.getLogger()
    for handler in [each for each in root.handlers if type(each) is logging.StreamHandler]:
        root.removeHandler(handler)
    logging.getLogger("clear_data").setLevel(logging.NOTSET)


@pytest.fixture(autouse=True)
def _small_numbers_stay() -> Iterator[None]:
    """Undo what a training does to the process: hypothesis refuses to draw numbers that would be flushed to 0."""
    yield
    if (torch := sys.modules.get("torch")) is not None:
        torch.set_flush_denormal(False)
