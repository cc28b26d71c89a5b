"""Each loss against a reference of loops in float64, at its limits, and under padding, order and type changes."""

import math
from collections.abc import Callable
from typing import Any

import jaxtyping
import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from unlearn_core.losses import (
    dpo_loss,
    kl_loss,
    nll_loss,
    npo_loss,
    sequence_logps,
    simnpo_loss,
    token_logps,
)

VOCAB = 7
# prompt, answer, padding; answers of 1 to 4 tokens, one after a second turn's prompt, one with a gap inside it
LABELS = torch.tensor(
    [
        [-100, -100, 3, 1, 0, -100, -100],
        [-100, -100, -100, -100, -100, -100, 5],
        [-100, 2, -100, -100, 6, 6, 0],
        [-100, -100, 4, -100, 0, -100, -100],
    ]
)
TOKEN_LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "token_logps": lambda logits, labels: token_logps(logits, labels).sum(),
    "sequence_logps": lambda logits, labels: sequence_logps(logits, labels).sum.square().sum(),
    "nll_loss": nll_loss,
    "kl_loss": lambda logits, labels: kl_loss(logits, torch.arange(float(logits.shape[-1])).expand_as(logits), labels),
}


def random_logits(labels: Tensor = LABELS, *, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return (3 * torch.randn(*labels.shape, VOCAB, generator=generator, dtype=torch.float64)).to(dtype)


def naive_logps(logits: Tensor, labels: Tensor) -> list[list[float]]:
    """Log p of the answer tokens of every row, from exponentials and Python floats."""
    rows = []
    for row, row_labels in zip(logits.tolist(), labels.tolist(), strict=True):
        logps = []
        for place in range(1, len(row_labels)):
            if row_labels[place] != -100:
                weights = [math.exp(z) for z in row[place - 1]]
                logps.append(math.log(weights[row_labels[place]] / sum(weights)))
        rows.append(logps)
    return rows


def naive_kl(logits: Tensor, ref_logits: Tensor, labels: Tensor) -> float:
    terms = []
    for row, place in (labels != -100).nonzero().tolist():
        p, q = (each[row, place - 1].double().softmax(0).tolist() for each in (ref_logits, logits))
        terms.append(sum(a * math.log(a / b) for a, b in zip(p, q, strict=True)))
    return sum(terms) / len(terms)


def log_sigmoid(x: float) -> float:
    return -math.log1p(math.exp(-x))


def test_token_logps_are_those_of_the_answer_row_after_row() -> None:
    logits = random_logits()
    expected = [logp for row in naive_logps(logits, LABELS) for logp in row]
    torch.testing.assert_close(token_logps(logits, LABELS), torch.tensor(expected, dtype=torch.float64))


def test_sequence_logps_sum_and_count_each_row() -> None:
    logits = random_logits()
    rows = naive_logps(logits, LABELS)
    found = sequence_logps(logits, LABELS)
    torch.testing.assert_close(found.sum, torch.tensor([sum(row) for row in rows], dtype=torch.float64))
    assert found.count.tolist() == [3, 1, 4, 2] == [len(row) for row in rows]


def test_nll_is_the_mean_over_tokens_not_over_rows() -> None:
    logits = random_logits()
    rows = naive_logps(logits, LABELS)
    expected = -sum(sum(row) for row in rows) / sum(len(row) for row in rows)
    assert nll_loss(logits, LABELS).item() == pytest.approx(expected, rel=1e-12)


def test_kl_is_from_the_reference_and_over_answer_tokens() -> None:
    logits, ref_logits = random_logits(seed=1), random_logits(seed=2)
    found = kl_loss(logits, ref_logits, LABELS).item()
    assert found == pytest.approx(naive_kl(logits, ref_logits, LABELS), rel=1e-12)
    assert found != pytest.approx(naive_kl(ref_logits, logits, LABELS), rel=1e-3)
    assert kl_loss(logits, logits + 5, LABELS).item() == pytest.approx(0, abs=1e-12)  # a constant changes nothing


@pytest.mark.parametrize("beta", [0.05, 0.1, 1.0, 5.0])
def test_npo_is_the_mean_over_sequences_of_the_papers_other_form(beta: float) -> None:
    logps, ref = [-3.0, -10.0, -0.5], [-4.0, -9.0, -0.5]
    expected = sum(2 / beta * math.log(1 + math.exp(a - b) ** beta) for a, b in zip(logps, ref, strict=True)) / 3
    assert npo_loss(torch.tensor(logps), torch.tensor(ref), beta=beta).item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(("beta", "delta"), [(4.5, 0.0), (2.5, 1.0), (0.1, -2.0)])
def test_simnpo_is_the_mean_over_sequences(beta: float, delta: float) -> None:
    logps, lengths = [-3.0, -10.0, -0.5], [3, 4, 1]
    terms = [-2 / beta * log_sigmoid(beta * (-a / n - delta)) for a, n in zip(logps, lengths, strict=True)]
    found = simnpo_loss(torch.tensor(logps), torch.tensor(lengths), beta=beta, delta=delta)
    assert found.item() == pytest.approx(sum(terms) / 3, rel=1e-6)


@pytest.mark.parametrize("beta", [0.1, 2.0])
def test_dpo_is_the_mean_over_sequences(beta: float) -> None:
    win, ref_win, lose, ref_lose = ([-1.0, -7.0], [-2.0, -6.0], [-3.0, -5.0], [-2.5, -9.0])
    margins = [(a - b) - (c - d) for a, b, c, d in zip(win, ref_win, lose, ref_lose, strict=True)]
    expected = sum(-2 / beta * log_sigmoid(beta * margin) for margin in margins) / 2
    found = dpo_loss(*(torch.tensor(each) for each in (win, ref_win, lose, ref_lose)), beta=beta)
    assert found.item() == pytest.approx(expected, rel=1e-6)


def test_npo_becomes_gradient_ascent_as_beta_vanishes() -> None:
    logps = torch.tensor([-3.0, -10.0], dtype=torch.float64, requires_grad=True)
    npo_loss(logps, logps.detach() + 1, beta=1e-9).backward()
    torch.testing.assert_close(logps.grad, torch.full((2,), 0.5, dtype=torch.float64))  # that of logps.mean()


def test_npo_lets_go_of_what_is_forgotten_and_dpo_of_what_is_learnt() -> None:
    far = torch.tensor([-1e4], requires_grad=True)
    zero = torch.zeros(1)
    assert npo_loss(far, zero, beta=0.1).item() == 0
    assert torch.autograd.grad(npo_loss(far, zero, beta=0.1), far)[0].item() == 0
    assert dpo_loss(zero, zero, far, zero, beta=0.1).item() == 0
    assert npo_loss(-far, zero, beta=0.1).item() == pytest.approx(2e4)  # linear, not infinite, on the other side


@pytest.mark.parametrize("beta", [0.1, 1.0, 4.5])
def test_at_the_reference_and_at_the_margin_the_loss_is_log_two(beta: float) -> None:
    logps = torch.tensor([-2.0, -30.0])
    expected = pytest.approx(2 / beta * math.log(2), rel=1e-6)
    assert npo_loss(logps, logps, beta=beta).item() == expected
    assert dpo_loss(logps, logps, 2 * logps, 2 * logps, beta=beta).item() == expected
    assert simnpo_loss(logps, torch.tensor([1, 15]), beta=beta, delta=2.0).item() == expected


def test_each_preference_loss_falls_when_the_answer_to_forget_does() -> None:
    high, low, ref = torch.tensor([-1.0]), torch.tensor([-2.0]), torch.tensor([-1.5])
    assert npo_loss(low, ref, beta=1.0) < npo_loss(high, ref, beta=1.0)
    assert simnpo_loss(low, torch.tensor([2]), beta=1.0, delta=0.0) < simnpo_loss(
        high, torch.tensor([2]), beta=1.0, delta=0.0
    )
    assert dpo_loss(ref, ref, low, ref, beta=1.0) < dpo_loss(ref, ref, high, ref, beta=1.0)
    assert dpo_loss(high, ref, ref, ref, beta=1.0) < dpo_loss(low, ref, ref, ref, beta=1.0)


@pytest.mark.parametrize("loss", TOKEN_LOSSES.values(), ids=TOKEN_LOSSES)
def test_padding_on_either_side_and_the_order_of_rows_change_nothing(loss: Callable[[Tensor, Tensor], Tensor]) -> None:
    logits = random_logits()
    expected = loss(logits, LABELS)
    for pad in [(5, 0), (0, 5)]:
        padded_labels = torch.nn.functional.pad(LABELS, pad, value=-100)
        padded_logits = torch.nn.functional.pad(logits, (0, 0, *pad), value=9.0)
        torch.testing.assert_close(loss(padded_logits, padded_labels), expected)
    order = torch.tensor([2, 0, 3, 1])
    torch.testing.assert_close(loss(logits[order], LABELS[order]), expected)


@pytest.mark.parametrize("loss", TOKEN_LOSSES.values(), ids=TOKEN_LOSSES)
def test_gradient_is_right_and_exactly_zero_away_from_answers(loss: Callable[[Tensor, Tensor], Tensor]) -> None:
    logits = random_logits().requires_grad_()
    assert torch.autograd.gradcheck(lambda z: loss(z, LABELS), logits)
    (gradient,) = torch.autograd.grad(loss(logits, LABELS), logits)
    predicts = torch.nn.functional.pad(LABELS[:, 1:] != -100, (0, 1))
    assert (gradient[~predicts] == 0).all()
    assert (gradient[predicts].abs().sum(-1) > 0).all()


def test_gradient_of_the_preference_losses() -> None:
    values = [torch.randn(3, dtype=torch.float64, requires_grad=True) for _ in range(4)]
    assert torch.autograd.gradcheck(lambda a, b: npo_loss(a, b, beta=0.7), values[:2])
    assert torch.autograd.gradcheck(lambda *v: dpo_loss(*v, beta=0.7), values)
    lengths = torch.tensor([1, 2, 5])
    assert torch.autograd.gradcheck(lambda a: simnpo_loss(a, lengths, beta=4.5, delta=0.3), values[:1])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_upcast_before_the_softmax(dtype: torch.dtype) -> None:
    logits, ref_logits = random_logits(dtype=dtype), random_logits(seed=1, dtype=dtype)
    found = token_logps(logits, LABELS)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, token_logps(logits.float(), LABELS), rtol=0, atol=0)
    assert kl_loss(logits, ref_logits, LABELS).item() == pytest.approx(naive_kl(logits, ref_logits, LABELS), rel=1e-6)
    logits.requires_grad_()
    nll_loss(logits, LABELS).backward()
    assert logits.grad is not None and logits.grad.dtype == dtype


def test_large_logits_stay_finite() -> None:
    labels = torch.tensor([[-100, 1]])
    logits = torch.tensor([[[1e4, -1e4], [0.0, 0.0]]])
    assert nll_loss(logits, labels).item() == 2e4


class LargestFloat32(TorchDispatchMode):
    """The most numbers in any float32 tensor that an operation returns."""

    numbers = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **(kwargs or {}))
        for tensor in found if isinstance(found, tuple | list) else [found]:
            if isinstance(tensor, Tensor) and tensor.dtype == torch.float32:
                self.numbers = max(self.numbers, tensor.numel())
        return found


def test_no_float32_copy_of_all_logits_is_made() -> None:
    """Neither forward nor backward holds more than [answer tokens, vocabulary] in float32."""
    logits, labels = torch.randn(4, 64, 100).bfloat16().requires_grad_(), torch.full((4, 64), -100)
    labels[:, 40:42] = 7
    for loss in [nll_loss, lambda z, y: kl_loss(z, z.detach(), y)]:
        with LargestFloat32() as largest:
            loss(logits, labels).backward()
        assert largest.numbers == 8 * 100


@pytest.mark.usefixtures("unenforced")
@pytest.mark.parametrize(
    ("logits", "labels", "message"),
    [
        (torch.zeros(2, 4, VOCAB), torch.zeros(2, 3, dtype=torch.long), r"got \[2, 4, 7\] and \[2, 3\]"),
        (torch.zeros(2, 4), torch.zeros(2, 4, dtype=torch.long), r"got \[2, 4\] and \[2, 4\]"),
        (torch.zeros(0, 4, VOCAB), torch.zeros(0, 4, dtype=torch.long), "no rows"),
        (torch.zeros(4, 7, VOCAB), LABELS.where(LABELS != 5, -100), "row 1 of `labels` has no answer token"),
        # the label at position 0 follows nothing, so nothing predicts it
        (torch.zeros(1, 3, VOCAB), torch.tensor([[1, -100, -100]]), "row 0 of `labels` has no answer token"),
    ],
)
def test_labels_that_do_not_fit_are_refused(logits: Tensor, labels: Tensor, message: str) -> None:
    for loss in TOKEN_LOSSES.values():
        with pytest.raises(ValueError, match=message):
            loss(logits, labels)


@pytest.mark.usefixtures("unenforced")
def test_a_reference_of_another_shape_is_refused() -> None:
    with pytest.raises(ValueError, match=r"`ref_logits` must have the shape of `logits`, \[4, 7, 7\], got \[4, 7, 8\]"):
        kl_loss(random_logits(), torch.zeros(4, 7, 8), LABELS)


@pytest.mark.usefixtures("unenforced")
def test_sequences_that_do_not_fit_are_refused() -> None:
    one, two = torch.zeros(1), torch.zeros(2)
    for disagree in [
        lambda: npo_loss(two, one, beta=1.0),
        lambda: simnpo_loss(two, torch.ones(1, dtype=torch.long), beta=1.0, delta=0.0),
        lambda: dpo_loss(two, two, two, one, beta=1.0),
        lambda: npo_loss(two[None], two[None], beta=1.0),
        lambda: npo_loss(one[0], one[0], beta=1.0),
    ]:
        with pytest.raises(ValueError, match="one number a sequence is wanted"):
            disagree()
    with pytest.raises(ValueError, match="`logps` is empty"):
        npo_loss(torch.zeros(0), torch.zeros(0), beta=1.0)
    with pytest.raises(ValueError, match="`lengths` must be at least 1, got 0"):
        simnpo_loss(two, torch.tensor([1, 0]), beta=1.0, delta=0.0)


@pytest.mark.parametrize("beta", [0.0, -1.0, math.nan, math.inf])
def test_beta_out_of_range_is_refused(beta: float) -> None:
    one = torch.zeros(1)
    for loss in [
        lambda: npo_loss(one, one, beta=beta),
        lambda: simnpo_loss(one, torch.tensor([1]), beta=beta, delta=0.0),
        lambda: dpo_loss(one, one, one, one, beta=beta),
    ]:
        with pytest.raises(ValueError, match=r"`beta` must be .*, got"):
            loss()
    with pytest.raises(ValueError, match="`delta` must be finite, got nan"):
        simnpo_loss(one, torch.tensor([1]), beta=1.0, delta=math.nan)


def test_signatures_are_enforced_here() -> None:
    with pytest.raises(jaxtyping.TypeCheckError):
        nll_loss(torch.zeros(2, 4, VOCAB), torch.zeros(2, 3, dtype=torch.long))
