"""What the paper measured, in percent: LLaVA-1.5-13B on people of MLLMU-Bench (Kawakami et al., 2025)."""

from typing import NamedTuple


class Published(NamedTuple):
    """One row of the paper's numbers."""

    forgotten: float | None
    retained: float
    general: float
    """of MMBench"""


PUBLISHED = {
    ("finetuned", "ga"): Published(71, 30, 95),
    ("finetuned", "kl"): Published(69, 36, 95),
    ("finetuned", "npo"): Published(66, 36, 95),
    ("pretrained", "ga"): Published(74, 28, 2),
    ("pretrained", "kl"): Published(78, 28, 2),
    ("pretrained", "npo"): Published(64, 38, 7),
    ("sequential", "ga"): Published(None, 0, 14),
    ("sequential", "kl"): Published(None, 0, 20),
    ("sequential", "npo"): Published(None, 0, 0),
}
"""by setting and method; those of `sequential` after the fifth request, when no question was answered right"""
