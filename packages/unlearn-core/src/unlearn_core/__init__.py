"""Losses and methods of machine unlearning."""

__version__ = "0.1.0"
