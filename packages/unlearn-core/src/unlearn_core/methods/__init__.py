"""The methods, one module each, and the table that names them."""

from unlearn_core.method import Method
from unlearn_core.methods.altpo import AltPO
from unlearn_core.methods.ceu import CEU
from unlearn_core.methods.circuit_breaker import CircuitBreaker
from unlearn_core.methods.dpo import DPO
from unlearn_core.methods.flat import FLAT
from unlearn_core.methods.ga import GA
from unlearn_core.methods.graddiff import GradDiff
from unlearn_core.methods.idk import IDK
from unlearn_core.methods.jensun import JensUn
from unlearn_core.methods.kl import KL
from unlearn_core.methods.lat import LAT
from unlearn_core.methods.llmu import LLMU
from unlearn_core.methods.me import ME
from unlearn_core.methods.npo import NPO
from unlearn_core.methods.pdu import PDU
from unlearn_core.methods.retain_finetune import RetainFinetune
from unlearn_core.methods.rmu import RMU
from unlearn_core.methods.satimp import SatImp
from unlearn_core.methods.scrub import SCRUB
from unlearn_core.methods.simnpo import SimNPO
from unlearn_core.methods.sku import SKU
from unlearn_core.methods.undial import UNDIAL
from unlearn_core.methods.wga import WGA

METHODS: dict[str, type[Method]] = {
    "retain_finetune": RetainFinetune,
    "ga": GA,
    "graddiff": GradDiff,
    "kl": KL,
    "wga": WGA,
    "satimp": SatImp,
    "npo": NPO,
    "simnpo": SimNPO,
    "idk": IDK,
    "dpo": DPO,
    "altpo": AltPO,
    "flat": FLAT,
    "undial": UNDIAL,
    "ceu": CEU,
    "me": ME,
    "jensun": JensUn,
    "pdu": PDU,
    "llmu": LLMU,
    "scrub": SCRUB,
    "sku": SKU,
    "rmu": RMU,
    "circuit_breaker": CircuitBreaker,
    "lat": LAT,
}

__all__ = [
    "CEU",
    "DPO",
    "FLAT",
    "GA",
    "IDK",
    "KL",
    "LAT",
    "LLMU",
    "ME",
    "METHODS",
    "NPO",
    "PDU",
    "RMU",
    "SCRUB",
    "SKU",
    "UNDIAL",
    "WGA",
    "AltPO",
    "CircuitBreaker",
    "GradDiff",
    "JensUn",
    "RetainFinetune",
    "SatImp",
    "SimNPO",
]
