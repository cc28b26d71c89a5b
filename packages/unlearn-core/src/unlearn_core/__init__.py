"""Losses and methods of machine unlearning."""

from unlearn_core.batch import Batch
from unlearn_core.catalogue import CATALOGUE, Option, build_method, describe, explain
from unlearn_core.edit import Edit
from unlearn_core.edits import EDITS, MANU, TaskArithmetic
from unlearn_core.forward import Forward, ModelForward
from unlearn_core.guard import Guard, Kept
from unlearn_core.guards import ECO, GUARDS, ICUL, ULD
from unlearn_core.joint import JointForward
from unlearn_core.lora import lora_l1
from unlearn_core.material import Exchange, Material
from unlearn_core.method import Asked, LossParts, Method, Need
from unlearn_core.methods import (
    CEU,
    DPO,
    FLAT,
    GA,
    IDK,
    KL,
    LAT,
    LLMU,
    ME,
    METHODS,
    NPO,
    PDU,
    RMU,
    SCRUB,
    SKU,
    UNDIAL,
    WGA,
    AltPO,
    CircuitBreaker,
    GradDiff,
    JensUn,
    RetainFinetune,
    SatImp,
    SimNPO,
)
from unlearn_core.transform import Transform
from unlearn_core.transforms import GRU, SAM, TRANSFORMS, WAGLE, MMUnlearner, SalUn

__version__ = "0.1.0"

__all__ = [
    "CATALOGUE",
    "CEU",
    "DPO",
    "ECO",
    "EDITS",
    "FLAT",
    "GA",
    "GRU",
    "GUARDS",
    "ICUL",
    "IDK",
    "KL",
    "LAT",
    "LLMU",
    "MANU",
    "ME",
    "METHODS",
    "NPO",
    "PDU",
    "RMU",
    "SAM",
    "SCRUB",
    "SKU",
    "TRANSFORMS",
    "ULD",
    "UNDIAL",
    "WAGLE",
    "WGA",
    "AltPO",
    "Asked",
    "Batch",
    "CircuitBreaker",
    "Edit",
    "Exchange",
    "Forward",
    "GradDiff",
    "Guard",
    "JensUn",
    "JointForward",
    "Kept",
    "LossParts",
    "MMUnlearner",
    "Material",
    "Method",
    "ModelForward",
    "Need",
    "Option",
    "RetainFinetune",
    "SalUn",
    "SatImp",
    "SimNPO",
    "TaskArithmetic",
    "Transform",
    "build_method",
    "describe",
    "explain",
    "lora_l1",
]
