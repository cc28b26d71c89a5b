"""Losses and methods of machine unlearning."""

from unlearn_core.catalogue import Option, build_method, describe
from unlearn_core.method import Batch, Forward, LossParts, Method, Need
from unlearn_core.methods import DPO, GA, IDK, KL, METHODS, NPO, GradDiff, RetainFinetune, SimNPO

__version__ = "0.1.0"

__all__ = [
    "DPO",
    "GA",
    "IDK",
    "KL",
    "METHODS",
    "NPO",
    "Batch",
    "Forward",
    "GradDiff",
    "LossParts",
    "Method",
    "Need",
    "Option",
    "RetainFinetune",
    "SimNPO",
    "build_method",
    "describe",
]
