"""The L1 norm of what LoRA adds."""

import pytest
import torch
from torch import Tensor
from torch.nn import Linear, Module, ModuleDict, Sequential
from unlearn_core import lora_l1


class Adapted(Module):
    """A linear map with adapters, named as PEFT names them."""

    def __init__(self, wide: int, high: int, scaling: dict[str, float]) -> None:
        super().__init__()
        self.lora_A = ModuleDict({name: Linear(wide, 2, bias=False) for name in scaling})
        self.lora_B = ModuleDict({name: Linear(2, high, bias=False) for name in scaling})
        self.scaling = scaling


def naive(model: Module) -> Tensor:
    total = torch.zeros(())
    for module in model.modules():
        if isinstance(module, Adapted):
            for name, scale in module.scaling.items():
                a, b = module.lora_A[name].weight, module.lora_B[name].weight
                for row in range(len(b)):
                    for column in range(a.shape[1]):
                        total = total + abs(scale * sum(b[row, r] * a[r, column] for r in range(2)))
    return total


@pytest.fixture
def model() -> Module:
    torch.manual_seed(0)
    return Sequential(Adapted(3, 4, {"default": 2.0}), Linear(4, 4), Adapted(5, 2, {"one": 0.5, "two": -3.0}))


def test_norm_and_gradient_are_those_of_the_product(model: Module) -> None:
    factors = [value for name, value in model.named_parameters() if "lora" in name]
    torch.testing.assert_close(lora_l1(model), naive(model))
    ours, theirs = (torch.autograd.grad(norm, factors) for norm in (lora_l1(model), naive(model)))
    torch.testing.assert_close(ours, theirs)


def test_factors_that_rescale_one_another_change_nothing(model: Module) -> None:
    before = lora_l1(model).item()
    with torch.no_grad():
        model[0].lora_A["default"].weight *= 10  # type: ignore[index]
        model[0].lora_B["default"].weight /= 10  # type: ignore[index]
    assert lora_l1(model).item() == pytest.approx(before, rel=1e-6)


def test_a_model_without_lora_is_refused() -> None:
    with pytest.raises(ValueError, match="the model has no LoRA weights: add an adapter"):
        lora_l1(Linear(2, 2))
