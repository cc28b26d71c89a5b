"""Running a model where its answers are."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import Embedding, Linear, Module, ModuleList
from unlearn_core import Batch, Forward, ModelForward
from unlearn_core import forward as forward_module
from unlearn_core.losses import token_logps


class Layer(Module):
    """Counts its calls, and returns a tuple where asked to, as some layers do."""

    def __init__(self, pair: bool) -> None:
        super().__init__()
        self.map, self.pair, self.calls = Linear(4, 4), pair, 0

    def forward(self, state: Tensor) -> Any:
        self.calls += 1
        state = state + self.map(state).tanh()
        return (state, None) if self.pair else state


class Decoder(Module):
    def __init__(self, name: str, pair: bool) -> None:
        super().__init__()
        self.table = Embedding(7, 4)
        self.name, self.pair = name, pair
        setattr(self, name, ModuleList(Layer(pair) for _ in range(3)))

    def states(self, ids: Tensor) -> list[Tensor]:
        found, state = [], self.table(ids)
        for layer in getattr(self, self.name):
            state = layer(state)
            if self.pair:
                state, _ = state
            found.append(state)
        return found


class Model(Module):
    """As `transformers` has them, in small."""

    def __init__(self, name: str = "layers", pair: bool = False) -> None:
        super().__init__()
        self.decoder, self.head = Decoder(name, pair), Linear(4, 7)

    def get_decoder(self) -> Decoder:
        return self.decoder

    def forward(self, input_ids: Tensor) -> SimpleNamespace:
        return SimpleNamespace(logits=self.head(self.decoder.states(input_ids)[-1]))


class Keeping(Model):
    """Computes the last logits alone where told to."""

    def forward(self, input_ids: Tensor, logits_to_keep: int = 0) -> SimpleNamespace:  # type: ignore[override]
        return SimpleNamespace(logits=self.head(self.decoder.states(input_ids)[-1][:, -logits_to_keep:]))


class Wrapped(Module):
    def __init__(self, module: Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, **inputs: Any) -> Any:
        return self.module(**inputs)


IDS = torch.tensor([[1, 2, 3, 4, 5], [2, 3, 4, 5, 6]])
SHORT = Batch(inputs={"input_ids": IDS}, labels=torch.tensor([[-100, 4, 5], [-100, 5, 6]]))


@pytest.fixture(params=[("layers", False), ("h", True), ("blocks", False)], ids=str)
def model(request: pytest.FixtureRequest) -> Model:
    torch.manual_seed(0)
    return Model(*request.param)


@pytest.mark.parametrize("kind", [Model, Keeping])
@pytest.mark.parametrize("wrap", [lambda model: model, Wrapped])
def test_logits_are_those_at_the_end(kind: type[Model], wrap: Any) -> None:
    model = kind()
    found = ModelForward(wrap(model))(SHORT)
    torch.testing.assert_close(found, model.head(model.decoder.states(IDS)[-1])[:, 2:])


@pytest.mark.parametrize("wrap", [lambda model: model, Wrapped, lambda model: Wrapped(Wrapped(model))])
def test_hidden_states_are_a_layers_output_at_the_end(model: Model, wrap: Any) -> None:
    states = model.decoder.states(IDS)
    forward = ModelForward(wrap(model))
    for layer in range(3):
        torch.testing.assert_close(forward.hidden(SHORT, layer), states[layer][:, 2:])
        torch.testing.assert_close(forward.hidden(SHORT, layer - 3), states[layer][:, 2:])


def test_hidden_states_of_a_wrapped_model_take_the_logits_of_one_position() -> None:
    model = Keeping()
    heads = []
    model.head.register_forward_hook(lambda module, args, output: heads.append(output.shape[1]))
    ModelForward(Wrapped(model)).hidden(SHORT, 1)
    assert heads == [1]


def test_layers_after_the_one_asked_for_do_not_run_unless_wrapped(model: Model) -> None:
    layers = getattr(model.decoder, model.decoder.name)
    ModelForward(model).hidden(SHORT, 1)
    assert [layer.calls for layer in layers] == [1, 1, 0]
    ModelForward(Wrapped(model)).hidden(SHORT, 1)
    assert [layer.calls for layer in layers] == [2, 2, 1]


def test_gradients_reach_what_was_run(model: Model) -> None:
    ModelForward(model).hidden(SHORT, 0).sum().backward()
    layers = getattr(model.decoder, model.decoder.name)
    assert [layer.map.weight.grad is not None for layer in layers] == [True, False, False]


def test_steering_replaces_a_layers_output_and_is_undone(model: Model) -> None:
    plain = ModelForward(model)
    seen: list[tuple[Batch, torch.Size]] = []

    def zero(batch: Batch, state: Tensor) -> Tensor:
        seen.append((batch, state.shape))
        return torch.zeros_like(state)

    steered = plain.steered({1: zero})
    assert (steered.hidden(SHORT, 1) == 0).all()
    assert (steered.hidden(SHORT, 0) != 0).any()
    last = getattr(model.decoder, model.decoder.name)[2](torch.zeros(2, 5, 4))
    expected = model.head(last[0] if isinstance(last, tuple) else last)
    torch.testing.assert_close(steered(SHORT), expected[:, 2:])
    assert seen[0] == (SHORT, (2, 5, 4)), "whole rows are seen, not their ends alone"
    torch.testing.assert_close(plain(SHORT), model.head(model.decoder.states(IDS)[-1])[:, 2:])


def test_steers_add_up_in_their_order(model: Model) -> None:
    twice = ModelForward(model).steered({0: lambda _, state: state + 1}).steered({0: lambda _, state: state * 3})
    torch.testing.assert_close(twice.hidden(SHORT, 0), 3 * (model.decoder.states(IDS)[0] + 1)[:, 2:])


def test_hooks_are_removed_when_the_model_fails(model: Model) -> None:
    def fail(batch: Batch, state: Tensor) -> Tensor:
        raise RuntimeError("no")

    with pytest.raises(RuntimeError, match="no"):
        ModelForward(model).steered({0: fail})(SHORT)
    assert not any(layer._forward_hooks for layer in getattr(model.decoder, model.decoder.name))


@pytest.mark.parametrize("layer", [3, -4, 7])
def test_a_layer_that_is_not_there_is_refused(model: Model, layer: int) -> None:
    message = f"`layer` must be one of the model's 3 layers, from -3 to 2, got {layer}"
    with pytest.raises(ValueError, match=message):
        ModelForward(model).hidden(SHORT, layer)
    with pytest.raises(ValueError, match=message):
        ModelForward(model).steered({layer: lambda _, state: state})


def test_a_model_without_layers_is_refused() -> None:
    with pytest.raises(ValueError, match="Linear has no decoder layers under any of the names layers, h, blocks: give"):
        ModelForward(Linear(2, 2)).hidden(SHORT, 0)


class Headed(Keeping):
    """Has an output embedding that can be asked for, and logits that may be changed after it."""

    def __init__(self, cap: float = 0.0, bias: bool = False, tied: bool = False) -> None:
        super().__init__()
        self.head, self.cap = Linear(4, 7, bias=bias), cap
        if tied:
            self.head.weight = self.decoder.table.weight

    def get_output_embeddings(self) -> Linear:
        return self.head

    def forward(self, input_ids: Tensor, logits_to_keep: int = 0) -> SimpleNamespace:
        logits = super().forward(input_ids, logits_to_keep).logits
        return SimpleNamespace(logits=self.cap * (logits / self.cap).tanh() if self.cap else logits)


def rows_through(head: Linear) -> list[int]:
    """How many positions go through the output embedding, run by run."""
    seen: list[int] = []
    head.register_forward_hook(lambda module, args, output: seen.append(output.shape[:-1].numel()))
    return seen


@pytest.mark.parametrize("wrap", [lambda model: model, Wrapped])
@pytest.mark.parametrize("tied", [False, True])
def test_token_logps_of_large_logits_are_those_of_the_logits(
    wrap: Any, tied: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forward_module, "LARGE", 0)
    monkeypatch.setattr(forward_module, "CHUNK", 3)
    model = Headed(tied=tied)
    plain = token_logps(ModelForward(model)(SHORT), SHORT.labels)
    expected = torch.autograd.grad(plain.sum(), list(model.parameters()))
    seen = rows_through(model.head)
    found = ModelForward(wrap(model)).token_logps(SHORT)
    torch.testing.assert_close(found, plain)
    torch.testing.assert_close(torch.autograd.grad(found.sum(), list(model.parameters())), expected)
    assert seen == [2], "only the last position of the two rows"
    assert not model.head._forward_pre_hooks


def test_token_logps_of_a_steered_model(monkeypatch: pytest.MonkeyPatch) -> None:
    model = Headed()
    steered = ModelForward(model).steered({1: lambda _, state: 2 * state})
    plain = steered.token_logps(SHORT)
    monkeypatch.setattr(forward_module, "LARGE", 0)
    torch.testing.assert_close(steered.token_logps(SHORT), plain)
    assert not torch.allclose(ModelForward(model).token_logps(SHORT), plain)


@pytest.mark.parametrize(
    ("model", "runs"),
    [(Headed(cap=0.5), [2, 6, 6]), (Headed(bias=True), [6, 6]), (Keeping(), [6, 6])],
    ids=["changed afterwards", "with a bias", "without a name"],
)
def test_logits_that_are_not_a_linear_map_are_computed(
    model: Any, runs: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = token_logps(ModelForward(model)(SHORT), SHORT.labels)
    monkeypatch.setattr(forward_module, "LARGE", 0)
    seen = rows_through(model.head)
    for _ in range(2):
        torch.testing.assert_close(ModelForward(model).token_logps(SHORT), plain)
    assert seen == runs, "what was found out is remembered"


@pytest.mark.parametrize("bias", [False, True])
def test_the_last_states_times_the_output_embedding_are_the_logits(bias: bool) -> None:
    forward = ModelForward(Headed(bias=bias))
    logits = forward(SHORT)
    seen = rows_through(forward.output_embedding)
    states = forward.last_hidden(SHORT)
    assert states is not None
    assert seen == [2], "only the last position of the two rows"
    torch.testing.assert_close(forward.output_embedding(states), logits)


def test_the_last_states_carry_gradients_and_the_probe_none() -> None:
    model = Headed(bias=True)
    states = ModelForward(model).last_hidden(SHORT)
    assert states is not None
    (2 * states).sum().backward()
    assert model.decoder.layers[0].map.weight.grad is not None  # type: ignore[union-attr,operator]
    assert model.head.weight.grad is None and model.head.bias.grad is None


@pytest.mark.parametrize("cap", [0.5, 20.0], ids=["one that is felt", "one far above the logits"])
def test_a_cap_on_the_logits_leaves_no_last_states(cap: float) -> None:
    model = Headed(cap=cap)
    assert ModelForward(model).last_hidden(SHORT) is None
    with pytest.raises(ValueError, match="Headed has no output embedding that is plainly linear"):
        _ = ModelForward(model).output_embedding


def test_a_model_whose_output_embedding_cannot_be_asked_for_has_no_last_states() -> None:
    assert ModelForward(Keeping()).last_hidden(SHORT) is None
    with pytest.raises(ValueError, match="Keeping has no output embedding"):
        _ = ModelForward(Keeping()).output_embedding


def test_logits_count_as_large_by_all_their_entries(monkeypatch: pytest.MonkeyPatch) -> None:
    model = Headed()
    seen = rows_through(model.head)
    monkeypatch.setattr(forward_module, "LARGE", 6 * 7)
    ModelForward(model).token_logps(SHORT)
    monkeypatch.setattr(forward_module, "LARGE", 6 * 7 + 1)
    ModelForward(model).token_logps(SHORT)
    assert seen == [2, 6]


def test_small_logits_are_computed_as_they_are() -> None:
    model = Headed()
    seen = rows_through(model.head)
    torch.testing.assert_close(
        ModelForward(model).token_logps(SHORT), token_logps(ModelForward(model)(SHORT), SHORT.labels)
    )
    assert seen == [6, 6]


def test_autocast_is_that_of_the_model(monkeypatch: pytest.MonkeyPatch) -> None:
    model = Headed()
    with torch.autocast("cpu", torch.bfloat16):
        plain = ModelForward(model).token_logps(SHORT)
        monkeypatch.setattr(forward_module, "LARGE", 0)
        seen = rows_through(model.head)
        found = ModelForward(model).token_logps(SHORT)
    assert seen == [2] and found.dtype == torch.float32
    torch.testing.assert_close(found, plain, rtol=1e-5, atol=1e-5)


def test_a_model_may_be_its_own_decoder() -> None:
    class Bare(Decoder):
        def forward(self, input_ids: Tensor) -> SimpleNamespace:
            return SimpleNamespace(logits=self.states(input_ids)[-1])

    bare = Bare("layers", False)
    torch.testing.assert_close(ModelForward(bare).hidden(SHORT, -1), bare.states(IDS)[-1][:, 2:])


def test_a_forward_of_logits_alone_says_what_it_lacks() -> None:
    class Alone(Forward):
        def __call__(self, batch: Batch) -> Tensor:
            return torch.zeros(2, 3, 7)

    for ask in (lambda: Alone().hidden(SHORT, 0), lambda: Alone().steered({})):
        with pytest.raises(NotImplementedError, match="Alone gives logits alone: use `ModelForward`"):
            ask()
