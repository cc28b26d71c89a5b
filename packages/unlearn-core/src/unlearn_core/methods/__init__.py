"""The methods, one module each, and the table that names them."""

from unlearn_core.method import Method
from unlearn_core.methods.dpo import DPO
from unlearn_core.methods.ga import GA
from unlearn_core.methods.graddiff import GradDiff
from unlearn_core.methods.idk import IDK
from unlearn_core.methods.kl import KL
from unlearn_core.methods.npo import NPO
from unlearn_core.methods.retain_finetune import RetainFinetune
from unlearn_core.methods.simnpo import SimNPO

METHODS: dict[str, type[Method]] = {
    "retain_finetune": RetainFinetune,
    "ga": GA,
    "graddiff": GradDiff,
    "kl": KL,
    "npo": NPO,
    "simnpo": SimNPO,
    "idk": IDK,
    "dpo": DPO,
}

__all__ = ["DPO", "GA", "IDK", "KL", "METHODS", "NPO", "GradDiff", "RetainFinetune", "SimNPO"]
