"""Fictitious people, their questions and their photographs, for machine unlearning."""

__version__ = "0.1.0"
