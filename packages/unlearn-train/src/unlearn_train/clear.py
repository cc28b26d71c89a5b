"""CLEAR: people that are forgotten in text and images at once. The defaults of `unlearn run clear`."""

from typing import Any

METHODS = ("ga", "graddiff", "npo", "simnpo", "idk")

CHECKPOINT: dict[str, Any] = {
    "benchmark": "clear",
    "finetune": {"epochs": 5, "batch_size": 8, "learning_rate": 1e-5},
    "unlearn": {"epochs": 5, "batch_size": 8, "learning_rate": 5e-6},
    "methods": {name: {} for name in METHODS},
}
"""for a real checkpoint"""

EMBEDDED: dict[str, Any] = {
    "benchmark": "clear",
    "rehearse": True,
    "model": {"tiny": {"patch": 16, "vocabulary": 4096}},
    "pretrain": {"epochs": 20, "batch_size": 16, "learning_rate": 1.5e-3, "by_length": False},
    "finetune": {"epochs": 24, "batch_size": 16, "learning_rate": 1.5e-3, "by_length": False},
    "unlearn": {"epochs": 6, "batch_size": 16, "learning_rate": 1.5e-4},
    "methods": {
        "ga": {"train": {"epochs": 4}},
        "graddiff": {},
        "npo": {},
        "simnpo": {"train": {"epochs": 15, "learning_rate": 6e-4}},
        "idk": {"train": {"epochs": 10, "learning_rate": 8e-4}},
    },
}
"""for the small model that is built on the spot; the options of SimNPO and IDK were found on another seed"""
