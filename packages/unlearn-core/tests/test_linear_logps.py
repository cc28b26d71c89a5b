"""Log-probabilities straight from hidden states, against those from logits."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from unlearn_core.losses import linear_token_logps, linear_token_stats, token_logps

LABELS = torch.tensor([[-100, -100, 3, 1, 0, -100], [-100, 2, -100, -100, 4, 4], [5, -100, -100, -100, -100, 6]])


def problem(dtype: torch.dtype = torch.float64, *, vocab: int = 9, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    hidden = torch.randn(*LABELS.shape, 5, generator=generator, dtype=torch.float64)
    return hidden.to(dtype), torch.randn(vocab, 5, generator=generator, dtype=torch.float64).to(dtype)


@pytest.mark.parametrize("chunk", [1, 2, 5, 6, 7, 1000])
def test_value_and_gradients_are_those_of_the_plain_path(chunk: int) -> None:
    hidden, weight = (each.requires_grad_() for each in problem())
    found = linear_token_logps(hidden, weight, LABELS, chunk=chunk)
    plain = token_logps(hidden @ weight.T, LABELS)
    torch.testing.assert_close(found, plain, rtol=1e-12, atol=1e-12)
    slope = torch.linspace(-1, 3, len(found), dtype=torch.float64)
    ours, theirs = (torch.autograd.grad(each @ slope, (hidden, weight)) for each in (found, plain))
    torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-12)


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 2**31), vocab=st.integers(7, 40), chunk=st.integers(1, 8))
def test_any_shape(seed: int, vocab: int, chunk: int) -> None:
    hidden, weight = problem(torch.float32, vocab=vocab, seed=seed)
    found = linear_token_logps(hidden, weight, LABELS, chunk=chunk)
    torch.testing.assert_close(found, token_logps(hidden @ weight.T, LABELS), rtol=1e-5, atol=1e-5)


def test_gradients_are_only_made_for_what_wants_them() -> None:
    hidden, weight = problem()
    for wanted, other in [(hidden, weight), (weight, hidden)]:
        wanted.requires_grad_()
        loss = linear_token_logps(hidden, weight, LABELS, chunk=2).sum()
        (ours,) = torch.autograd.grad(loss, wanted)
        (theirs,) = torch.autograd.grad(token_logps(hidden @ weight.T, LABELS).sum(), wanted)
        torch.testing.assert_close(ours, theirs)
        assert other.grad is None
        wanted.requires_grad_(False)
    assert not linear_token_logps(hidden, weight, LABELS, chunk=2).requires_grad


def test_the_gradient_is_exactly_zero_away_from_answers() -> None:
    hidden, weight = problem()
    hidden.requires_grad_()
    (gradient,) = torch.autograd.grad(linear_token_logps(hidden, weight, LABELS, chunk=2).sum(), hidden)
    predicts = torch.nn.functional.pad(LABELS[:, 1:] != -100, (0, 1))
    assert (gradient[~predicts] == 0).all() and (gradient[predicts] != 0).any(-1).all()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_gives_float32_and_gradients_of_its_own_type(dtype: torch.dtype) -> None:
    hidden, weight = (each.requires_grad_() for each in problem(dtype))
    found = linear_token_logps(hidden, weight, LABELS, chunk=2)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, token_logps(hidden @ weight.T, LABELS), rtol=1e-5, atol=1e-5)
    found.sum().backward()
    fine = [each.detach().double().requires_grad_() for each in (hidden, weight)]
    token_logps(fine[0] @ fine[1].T, LABELS).sum().backward()
    for half, exact in zip((hidden, weight), fine, strict=True):
        assert half.grad is not None and half.grad.dtype == dtype and exact.grad is not None
        torch.testing.assert_close(half.grad.double(), exact.grad, rtol=0.05, atol=0.1)


def test_autocast_computes_as_the_plain_path_does_in_it() -> None:
    hidden, weight = (each.requires_grad_() for each in problem(torch.float32))
    with torch.autocast("cpu", torch.bfloat16):
        found = linear_token_logps(hidden, weight, LABELS, chunk=2)
        plain = token_logps(torch.nn.functional.linear(hidden, weight), LABELS)
    torch.testing.assert_close(found, plain, rtol=1e-5, atol=1e-5)
    ours, theirs = (torch.autograd.grad(each.sum(), (hidden, weight)) for each in (found, plain))
    torch.testing.assert_close(ours, theirs, rtol=0.05, atol=0.05)
    assert ours[0].dtype == ours[1].dtype == torch.float32


@pytest.mark.parametrize("chunk", [1, 4, 1000])
def test_stats_are_those_of_the_log_softmax(chunk: int) -> None:
    hidden, weight = problem()
    found = linear_token_stats(hidden, weight, LABELS, chunk=chunk)
    row = 0
    for sample, labels in zip(hidden, LABELS.tolist(), strict=True):
        for place in range(1, len(labels)):
            if labels[place] == -100:
                continue
            logps = (weight @ sample[place - 1]).log_softmax(0).tolist()
            mean = sum(logps) / len(logps)
            spread = (sum((logp - mean) ** 2 for logp in logps) / len(logps)) ** 0.5
            expected = (logps[labels[place]], max(logps) == logps[labels[place]], mean, spread)
            assert [each[row].item() for each in found] == pytest.approx(list(expected), rel=1e-10)
            row += 1
    assert row == len(found.logp)
    assert found.hit.any() and not found.hit.all()


class Sizes(TorchDispatchMode):
    """How many numbers the largest tensor has that an operation returns."""

    largest = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **(kwargs or {}))
        if isinstance(found, Tensor):
            self.largest = max(self.largest, found.numel())
        return found


@contextmanager
def at_most(numbers: int) -> Iterator[None]:
    with Sizes() as sizes:
        yield
    assert sizes.largest <= numbers


def test_no_more_than_a_chunk_of_logits_exists() -> None:
    hidden, weight = torch.randn(1, 65, 2).requires_grad_(), torch.randn(200, 2).requires_grad_()
    labels = torch.arange(65)[None]
    with at_most(3 * 200):
        linear_token_logps(hidden, weight, labels, chunk=3).sum().backward()
    with at_most(3 * 200):
        linear_token_stats(hidden, weight, labels, chunk=3)


@pytest.mark.usefixtures("unenforced")
def test_bad_input_is_refused() -> None:
    hidden, weight = problem()
    for function in (linear_token_logps, linear_token_stats):
        with pytest.raises(ValueError, match="`chunk` must be at least 1, got 0"):
            function(hidden, weight, LABELS, chunk=0)
        with pytest.raises(TypeError, match="`chunk` must be a whole number, got 2.0"):
            function(hidden, weight, LABELS, chunk=2.0)  # type: ignore[arg-type]
        with pytest.raises(
            ValueError, match=r"`weight` must be \[vocabulary, 5\] for `hidden` of \[3, 6, 5\], got \[5, 9\]"
        ):
            function(hidden, weight.T, LABELS, chunk=2)
        with pytest.raises(
            ValueError, match=r"`hidden` must be \[batch, length, width\] .* got \[3, 6, 5\] and \[3, 5\]"
        ):
            function(hidden, weight, LABELS[:, 1:], chunk=2)
        with pytest.raises(ValueError, match="row 0 of `labels` has no answer token"):
            function(hidden, weight, LABELS.where(LABELS > 3, -100), chunk=2)
