"""The gradient transforms, one module each, and the table that names them."""

from unlearn_core.transform import Transform
from unlearn_core.transforms.gru import GRU
from unlearn_core.transforms.mmunlearner import MMUnlearner
from unlearn_core.transforms.salun import SalUn
from unlearn_core.transforms.sam import SAM
from unlearn_core.transforms.wagle import WAGLE

TRANSFORMS: dict[str, type[Transform]] = {
    "gru": GRU,
    "sam": SAM,
    "salun": SalUn,
    "wagle": WAGLE,
    "mmunlearner": MMUnlearner,
}

__all__ = ["GRU", "SAM", "TRANSFORMS", "WAGLE", "MMUnlearner", "SalUn"]
