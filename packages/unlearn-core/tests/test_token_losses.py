"""What every loss of logits or hidden states has in common: padding, order, precision, memory and bad input."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from unlearn_core.losses import (
    ceu_loss,
    circuit_breaker_loss,
    drift_loss,
    entropy_loss,
    flat_loss,
    jensun_loss,
    js_loss,
    margin_loss,
    max_entropy_loss,
    rmu_loss,
    satimp_loss,
    sequence_probs,
    undial_loss,
    wga_loss,
)

VOCAB = 7
# prompt, answer, padding; answers of 1 to 4 tokens, one after a second turn's prompt
LABELS = torch.tensor(
    [
        [-100, -100, 3, 1, 0, -100, -100],
        [-100, -100, -100, -100, -100, -100, 5],
        [-100, 2, -100, -100, 6, 6, 0],
        [-100, -100, 4, -100, 0, -100, -100],
    ]
)
Loss = Callable[[Tensor, Tensor], Tensor]


def reference(values: Tensor) -> Tensor:
    """Another of the same shape, the same at every position and in every type."""
    return torch.linspace(-1, 2, values.shape[-1]).to(values.dtype).expand_as(values)


LOSSES: dict[str, Loss] = {
    "sequence_probs": lambda z, y: sequence_probs(z, y).square().sum(),
    "wga": lambda z, y: wga_loss(z, y, beta=0.7),
    "satimp": lambda z, y: satimp_loss(z, y, beta1=0.7, beta2=1.6),
    "jensun": jensun_loss,
    "js": lambda z, y: js_loss(z, reference(z), y),
    "undial": lambda z, y: undial_loss(z, reference(z), y, beta=2.0),
    "ceu": ceu_loss,
    "max_entropy": max_entropy_loss,
    "entropy": entropy_loss,
    "margin": margin_loss,
    "rmu": lambda h, y: rmu_loss(h, reference(h), y),
    "rmu to one vector": lambda h, y: rmu_loss(h, torch.ones(h.shape[-1], dtype=h.dtype), y),
    "circuit_breaker": lambda h, y: circuit_breaker_loss(h, reference(h), y),
    "drift": lambda h, y: drift_loss(h, reference(h), y),
}
FIXED = {"wga", "satimp", "ceu"}  # hold a part of themselves fixed, so that their slope is not that of their value


@pytest.fixture(params=list(LOSSES))
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def loss(name: str) -> Loss:
    return LOSSES[name]


def random_values(*, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return (2 * torch.randn(*LABELS.shape, VOCAB, generator=generator, dtype=torch.float64)).to(dtype)


def test_padding_on_either_side_and_the_order_of_rows_change_nothing(loss: Loss) -> None:
    values = random_values()
    expected = loss(values, LABELS)
    for pad in [(5, 0), (0, 5)]:
        padded = torch.nn.functional.pad(values, (0, 0, *pad), value=9.0)
        torch.testing.assert_close(loss(padded, torch.nn.functional.pad(LABELS, pad, value=-100)), expected)
    order = torch.tensor([2, 0, 3, 1])
    torch.testing.assert_close(loss(values[order], LABELS[order]), expected)


def test_the_gradient_is_exactly_zero_away_from_answers(loss: Loss) -> None:
    values = random_values().requires_grad_()
    (gradient,) = torch.autograd.grad(loss(values, LABELS), values)
    predicts = torch.nn.functional.pad(LABELS[:, 1:] != -100, (0, 1))
    assert (gradient[~predicts] == 0).all()
    assert (gradient[predicts].abs().sum(-1) > 0).any()


@pytest.mark.parametrize("name", [name for name in LOSSES if name not in FIXED])
def test_the_gradient_is_that_of_the_value(loss: Loss) -> None:
    assert torch.autograd.gradcheck(lambda values: loss(values, LABELS), random_values().requires_grad_())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_upcast_first(loss: Loss, dtype: torch.dtype) -> None:
    values = random_values(dtype=dtype)
    found = loss(values, LABELS)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, loss(values.double(), LABELS).float(), rtol=1e-2, atol=1e-2)
    values.requires_grad_()
    loss(values, LABELS).backward()
    assert values.grad is not None and values.grad.dtype == dtype


@pytest.mark.parametrize("size", [1e-4, 1e4])
def test_extreme_values_stay_finite_and_so_do_their_gradients(loss: Loss, size: float) -> None:
    values = (size * random_values(dtype=torch.float32)).requires_grad_()
    found = loss(values, LABELS)
    assert torch.isfinite(found)
    assert torch.isfinite(torch.autograd.grad(found, values)[0]).all()


class LargestFloat32(TorchDispatchMode):
    """The most numbers in any float32 tensor that an operation returns."""

    numbers = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **(kwargs or {}))
        for tensor in found if isinstance(found, tuple | list) else [found]:
            if isinstance(tensor, Tensor) and tensor.dtype == torch.float32:
                self.numbers = max(self.numbers, tensor.numel())
        return found


def test_no_float32_copy_of_all_positions_is_made(loss: Loss) -> None:
    values, labels = torch.randn(4, 64, 100).bfloat16().requires_grad_(), torch.full((4, 64), -100)
    labels[:, 40:42] = 7
    with LargestFloat32() as largest:
        loss(values, labels).backward()
    assert largest.numbers <= 8 * 100


@pytest.mark.usefixtures("unenforced")
@pytest.mark.parametrize(
    ("values", "labels", "message"),
    [
        (torch.zeros(2, 4, VOCAB), torch.zeros(2, 3, dtype=torch.long), r"got \[2, 4, 7\] and \[2, 3\]"),
        (torch.zeros(2, 4), torch.zeros(2, 4, dtype=torch.long), r"got \[2, 4\] and \[2, 4\]"),
        (torch.zeros(0, 4, VOCAB), torch.zeros(0, 4, dtype=torch.long), "no rows"),
        (torch.zeros(4, 7, VOCAB), LABELS.where(LABELS != 5, -100), "row 1 of `labels` has no answer token"),
    ],
)
def test_labels_that_do_not_fit_are_refused(loss: Loss, values: Tensor, labels: Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        loss(values, labels)


@pytest.mark.usefixtures("unenforced")
@pytest.mark.parametrize(
    ("loss", "kind"),
    [
        (js_loss, "logits"),
        (lambda *values: undial_loss(*values, beta=1.0), "logits"),
        (circuit_breaker_loss, "hidden"),
        (drift_loss, "hidden"),
    ],
)
def test_a_reference_of_another_shape_is_refused(loss: Callable[..., Tensor], kind: str) -> None:
    message = rf"`ref_{kind}` must have the shape of `{kind}`, \[4, 7, 7\], got \[4, 7, 8\]: "
    with pytest.raises(ValueError, match=message):
        loss(random_values(), torch.zeros(4, 7, 8), LABELS)


@pytest.mark.usefixtures("unenforced")
def test_a_target_of_another_shape_is_refused() -> None:
    for target in (torch.zeros(8), torch.zeros(4, 7, 8), torch.zeros(1, 7), torch.zeros(7, 7)):
        with pytest.raises(ValueError, match=r"`target` must be \[width\] or have the shape of `hidden`, \[4, 7, 7\]"):
            rmu_loss(random_values(), target, LABELS)


@pytest.mark.parametrize("value", [-0.1, math.nan, math.inf])
def test_exponents_and_penalties_below_zero_are_refused(value: float) -> None:
    logits = random_values()
    for option, call in {
        "beta": lambda: wga_loss(logits, LABELS, beta=value),
        "beta1": lambda: satimp_loss(logits, LABELS, beta1=value, beta2=1.0),
        "beta2": lambda: satimp_loss(logits, LABELS, beta1=1.0, beta2=value),
        "beta ": lambda: undial_loss(logits, logits, LABELS, beta=value),
    }.items():
        with pytest.raises(ValueError, match=f"`{option.strip()}` must be .*, got {value}"):
            call()


def test_no_gradient_reaches_what_is_imitated_or_held_against() -> None:
    values, other = random_values(), random_values(seed=1).requires_grad_()
    for loss in (lambda a, b: undial_loss(a, b, LABELS, beta=1.0), lambda a, b: rmu_loss(a, b, LABELS)):
        assert not loss(values, other).requires_grad
    assert not circuit_breaker_loss(values, other, LABELS).requires_grad
    assert not drift_loss(values, other, LABELS).requires_grad


def test_drift_has_a_gradient_where_there_is_none_to_follow() -> None:
    hidden = random_values().requires_grad_()
    (gradient,) = torch.autograd.grad(drift_loss(hidden, hidden.detach(), LABELS), hidden)
    assert (gradient == 0).all()


def test_sequence_probs_are_means_not_products() -> None:
    logits = random_values()
    for row, found in zip(range(4), sequence_probs(logits, LABELS).tolist(), strict=True):
        probs = [logits[row, t - 1].softmax(0)[y].item() for t, y in enumerate(LABELS[row].tolist()) if y != -100]
        assert found == pytest.approx(sum(probs) / len(probs), rel=1e-12)


def test_divergences_stay_between_nothing_and_log_two() -> None:
    logits = random_values()
    assert js_loss(logits, logits + 3, LABELS).item() == pytest.approx(0, abs=1e-12)
    far = 1e4 * torch.nn.functional.one_hot(torch.tensor(0), VOCAB).double().expand_as(logits)
    assert js_loss(far, far.roll(1, -1), LABELS).item() == pytest.approx(math.log(2), rel=1e-12)
    torch.testing.assert_close(js_loss(logits, reference(logits), LABELS), js_loss(reference(logits), logits, LABELS))


@pytest.mark.parametrize("divergence", ["tv", "kl", "js", "pearson"])
def test_flat_raises_the_template_and_lowers_the_rest(divergence: str) -> None:
    probs = [torch.tensor([0.2, 0.9], dtype=torch.float64, requires_grad=True) for _ in range(2)]
    assert torch.autograd.gradcheck(lambda a, b: flat_loss(a, b, divergence=divergence), probs)
    up, down = torch.autograd.grad(flat_loss(*probs, divergence=divergence), probs)
    assert (up < 0).all() and (down > 0).all()


@pytest.mark.usefixtures("unenforced")
def test_flat_refuses_what_it_does_not_know() -> None:
    one, two = torch.zeros(1), torch.zeros(2)
    with pytest.raises(ValueError, match="`divergence` must be one of tv, kl, js, pearson, got 'x'"):
        flat_loss(one, one, divergence="x")
    with pytest.raises(ValueError, match="one number a sequence is wanted"):
        flat_loss(one, two, divergence="tv")
    with pytest.raises(ValueError, match="`template` is empty"):
        flat_loss(one[:0], one[:0], divergence="tv")
