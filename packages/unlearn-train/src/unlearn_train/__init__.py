"""Finetuning, unlearning and whole experiments."""

__version__ = "0.1.0"
