"""Readers of public benchmarks, each into the columns of this package."""

from clear_data.readers.tofu import Tofu, read_tofu

__all__ = ["Tofu", "read_tofu"]
