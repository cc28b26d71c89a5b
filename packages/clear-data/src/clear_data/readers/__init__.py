"""Readers of public benchmarks, each into the columns of this package."""

from clear_data.readers.mllmu import Mllmu, read_mllmu
from clear_data.readers.tofu import Tofu, read_tofu

__all__ = ["Mllmu", "Tofu", "read_mllmu", "read_tofu"]
