"""PULSE: knowledge from pretraining against knowledge from finetuning, and the same requests one after another.

The defaults of `unlearn run pulse`. Source of the protocol: Kawakami et al., 2025, https://arxiv.org/abs/2507.01271.
"""

from typing import Any

CHECKPOINT: dict[str, Any] = {
    "benchmark": "pulse",
    "tasks": ["qa", "caption", "vqa"],
    "finetune": {"epochs": 5, "batch_size": 8, "learning_rate": 1e-5},
    "unlearn": {"epochs": 5, "batch_size": 8, "learning_rate": 5e-6},
    "methods": {"ga": {}, "kl": {}, "npo": {"retain_weight": 0.0}},
    "pulse": {"ask": ["mcq"]},
}
"""for a real checkpoint, which knows how to answer with a letter"""

EMBEDDED: dict[str, Any] = {
    "benchmark": "pulse",
    "rehearse": True,
    "data": {
        "subjects": 20,
        "questions": 5,
        "images": 5,
        "holdout": 0,
        "figures": 20,
        "figure_questions": 5,
        "scenes": 80,
    },
    "model": {"tiny": {"patch": 16, "vocabulary": 4096}},
    "pretrain": {"epochs": 20, "batch_size": 16, "learning_rate": 1.5e-3, "by_length": False},
    "finetune": {"epochs": 15, "batch_size": 16, "learning_rate": 1.5e-3, "by_length": False},
    "unlearn": {"epochs": 5, "batch_size": 16, "learning_rate": 3e-4},
    "methods": {"ga": {}, "kl": {}, "npo": {"retain_weight": 0.0}},
    "pulse": {
        "answer": "option",
        "finetuned": 20,
        "finetuned_forget": 10,
        "pretrained": 20,
        "pretrained_forget": 9,
        "general": ["pretrain"],
    },
}
"""for the small model that is built on the spot"""
