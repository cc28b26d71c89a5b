"""Metrics of machine unlearning, computed from evidence on disk."""

__version__ = "0.1.0"
