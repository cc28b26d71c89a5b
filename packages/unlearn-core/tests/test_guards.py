"""Guards: what they do to a small decoder, with a cache and without, and what they do not touch."""

import math
from collections.abc import Callable, Iterable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from unlearn_core import ECO, GUARDS, ICUL, ULD, Batch, Exchange, Forward, Kept, Material, build_method
from unlearn_core.guards.eco import content, corrupted, fit_classifier, predict
from unlearn_core.method import Method

LEAD, MARKER = [1], [8, 9]  # every prompt is 1 … 8 9


class Cache:
    """What each layer of a decoder without attention remembers; only the first has anything to say."""

    def __init__(self, layers: list[tuple[int, Tensor]]) -> None:
        self.layers = layers

    def get_seq_length(self) -> int:
        return self.layers[0][0]


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 4)

    def forward(self, hidden_states: Tensor) -> Tensor:
        return hidden_states + torch.tanh(self.linear(hidden_states))


class Config:
    def __init__(self, layers: int) -> None:
        self.num_hidden_layers, self.layer_types = layers, ["full"] * layers

    def get_text_config(self) -> "Config":
        return self


class Decoder(nn.Module):
    """Each token's state is the mean of all embeddings so far, through some layers."""

    def __init__(self, layers: int = 4) -> None:
        super().__init__()
        self.table = nn.Embedding(12, 4)
        self.layers = nn.ModuleList(Block() for _ in range(layers))
        self.head = nn.Linear(4, 12, bias=False)
        self.config = Config(layers)

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor | None = None, past_key_values: Cache | None = None
    ) -> SimpleNamespace:
        length, past = past_key_values.layers[0] if past_key_values else (0, torch.zeros(()))
        state = self.table(input_ids)
        for layer in self.layers:
            state = layer(state)
        real = torch.ones_like(input_ids) if attention_mask is None else attention_mask[:, -input_ids.shape[1] :]
        sums = (state * real[..., None]).cumsum(1) + past
        read = [(length + input_ids.shape[1], sums[:, -1:])] * len(self.layers)
        further = past_key_values.layers[len(self.layers) :] if past_key_values else []
        return SimpleNamespace(logits=self.head(torch.tanh(sums)), past_key_values=Cache([*read, *further]))


def rows(questions: list[list[int]]) -> Callable[[int | None], Iterable[Batch]]:
    """Prompts with the answer 7."""
    ids = torch.tensor([[*LEAD, *question, *MARKER, 7] for question in questions])
    labels = ids.clone()
    labels[:, :-1] = -100
    return lambda size: [
        Batch(
            inputs={"input_ids": ids[n : n + 2], "attention_mask": torch.ones_like(ids[n : n + 2])},
            labels=labels[n : n + 2],
        )
        for n in range(0, len(ids), 2)
    ]


FORGET, RETAIN = [[2, 3], [2, 4], [2, 2]], [[5, 6], [10, 6], [5, 10]]


@pytest.fixture
def model() -> Decoder:
    torch.manual_seed(3)
    return Decoder().double().eval()


@pytest.fixture
def material() -> Material:
    return Material(
        forget={"text": rows(FORGET)},
        retain={"text": rows(RETAIN)},
        frame=(LEAD, MARKER),
        exchanges={
            "refused": [Exchange(f"forget {n}", "I don't know.") for n in range(5)],
            "retain": [Exchange(f"keep {n}", f"answer {n}") for n in range(4)],
        },
    )


def prompt(question: list[int], answer: list[int] | None = None) -> Tensor:
    return torch.tensor([[*LEAD, *question, *MARKER, *(answer or [])]])


def weights(model: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


# ECO


@pytest.fixture
def guarded(model: Decoder, material: Material) -> tuple[Decoder, Decoder]:
    """The model without and with the guard."""
    torch.manual_seed(3)
    free = Decoder().double().eval()
    guard = ECO(strength=2.0)
    guard.attach(model, guard.make(model, material))
    return free, model


def test_eco_changes_answers_to_forget_and_no_others(guarded: tuple[Decoder, Decoder]) -> None:
    free, model = guarded
    before = weights(free)
    for question in FORGET:
        found, plain = model(prompt(question, [7])).logits, free(prompt(question, [7])).logits
        assert (found - plain).abs().max() > 1e-2
        assert torch.equal(found[:, :1], plain[:, :1]), "before the question, nothing changes"
    for question in RETAIN:
        assert torch.equal(model(prompt(question, [7])).logits, free(prompt(question, [7])).logits)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert model.training is False


def test_eco_by_hand(guarded: tuple[Decoder, Decoder]) -> None:
    """The question's two tokens get noise of twice their root mean square; all else is the model's."""
    free, model = guarded
    ids = prompt([2, 3], [7])
    table = torch.randn(16, 4, generator=torch.Generator().manual_seed(0)).double()
    state = free.table(ids)[0].detach()
    rms = math.sqrt(sum(float(x) ** 2 for row in state[1:3] for x in row) / 8)
    state[1:3] += 2.0 * rms * table[:2]
    sums = []
    for token in state:
        for layer in free.layers:
            token = layer(token)
        sums.append(token + (sums[-1] if sums else 0))
    expected = torch.stack([free.head(torch.tanh(each)) for each in sums])
    torch.testing.assert_close(model(ids).logits[0], expected, rtol=1e-6, atol=1e-8)


def test_eco_with_a_cache_is_eco_without(guarded: tuple[Decoder, Decoder]) -> None:
    _, model = guarded
    whole = model(prompt([2, 3], [7, 6, 5])).logits[:, -3:]
    read = model(input_ids=prompt([2, 3]))
    steps = []
    for token in (7, 6, 5):
        read = model(input_ids=torch.tensor([[token]]), past_key_values=read.past_key_values)
        steps.append(read.logits)
    torch.testing.assert_close(torch.cat(steps, 1), whole, rtol=1e-12, atol=1e-12)


def test_eco_does_not_mind_padding_or_company(guarded: tuple[Decoder, Decoder]) -> None:
    _, model = guarded
    alone = model(prompt([2, 3])).logits[0, -1]
    left = torch.tensor([[0, 0, *prompt([2, 3])[0]], [*LEAD, 5, 6, 5, 5, *MARKER]])
    mask = torch.tensor([[0, 0, 1, 1, 1, 1, 1], [1] * 7])
    torch.testing.assert_close(model(input_ids=left, attention_mask=mask).logits[0, -1], alone, rtol=1e-12, atol=1e-12)


def test_a_question_is_found_between_its_frame() -> None:
    frame = {"lead": torch.tensor(LEAD), "marker": torch.tensor(MARKER)}
    ids = torch.tensor([[1, 5, 8, 9, 5, 8, 9, 7], [0, 0, 1, 5, 5, 8, 9, 7], [5, 6, 5, 6, 5, 6, 5, 6]])
    mask = torch.tensor([[1] * 8, [0, 0, 1, 1, 1, 1, 1, 1], [1] * 8])
    found = content({"input_ids": ids, "attention_mask": mask}, frame).int().tolist()
    assert found == [[0, 1, 1, 1, 1, 0, 0, 0], [0, 0, 0, 1, 1, 0, 0, 0], [0] * 8]
    assert content({"input_ids": torch.tensor([[8]])}, frame).tolist() == [[False]]


def test_noise_of_a_place_does_not_depend_on_how_many_there_are() -> None:
    short, long = torch.ones(1, 3, 4), torch.ones(1, 40, 4)
    first = corrupted(short, torch.ones(1, 3, dtype=torch.bool), strength=1.0, seed=5)
    second = corrupted(long, torch.ones(1, 40, dtype=torch.bool), strength=1.0, seed=5)
    assert torch.equal(first, second[:, :3])
    assert not torch.equal(first, corrupted(short, torch.ones(1, 3, dtype=torch.bool), strength=1.0, seed=6))
    nowhere = corrupted(short, torch.zeros(1, 3, dtype=torch.bool), strength=1.0, seed=5)
    assert torch.equal(nowhere, short)


def test_the_classifier_is_a_penalized_logistic_regression() -> None:
    """At its optimum the gradient, written out by hand, is zero."""
    torch.manual_seed(0)
    forget, retain = torch.randn(7, 3) + 0.5, torch.randn(9, 3)
    fitted = fit_classifier(forget, retain, penalty=0.05)
    features = torch.cat([forget, retain]).double()
    scaled = (features - features.mean(0)) / features.std(0, correction=0)
    weight, bias = fitted["weight"].double(), fitted["bias"].double()
    errors = [1 / (1 + math.exp(-float(row @ weight + bias))) - (n < 7) for n, row in enumerate(scaled)]
    for k in range(3):
        slope = sum(e * float(row[k]) for e, row in zip(errors, scaled, strict=True)) / 16 + 2 * 0.05 * float(weight[k])
        assert slope == pytest.approx(0, abs=1e-4)
    assert sum(errors) / 16 == pytest.approx(0, abs=1e-4)
    assert ((predict(torch.cat([forget, retain]), fitted) > 0.5) == (torch.arange(16) < 7)).float().mean() > 0.6


def test_eco_needs_prompts_and_a_frame(model: Decoder, material: Material) -> None:
    with pytest.raises(ValueError, match="the prompts have no ending in common"):
        ECO().make(model, Material(forget=material.forget, retain=material.retain))
    with pytest.raises(ValueError, match="needs prompts of both sides, got 3 to forget, 0 to keep"):
        ECO().make(model, Material(forget=material.forget, frame=material.frame))
    with pytest.raises(ValueError, match="this guard needs `bias`, which is missing"):
        ECO().attach(model, Kept())


# ULD


def test_uld_subtracts_an_assistant_of_the_first_layers(model: Decoder, material: Material) -> None:
    trained: list[tuple[nn.Module, Method]] = []

    def train(assistant: nn.Module, method: Method) -> None:
        trained.append((assistant, method))
        assistant.head.weight.data += 0.3

    plain, before = Decoder().double().eval(), weights(model)
    plain.load_state_dict(before)
    guard = ULD(weight=0.7)
    kept = guard.make(model, Material(train=train))
    ((assistant, _),) = trained
    assert assistant is kept.assistant and len(assistant.layers) == assistant.config.num_hidden_layers == 1
    assert assistant.config.layer_types == ["full"] and model.config.num_hidden_layers == len(model.layers) == 4
    guard.attach(model, kept)
    ids = prompt([2, 3], [7])
    expected = plain(ids).logits - 0.7 * assistant(ids).logits
    torch.testing.assert_close(model(ids).logits, expected, rtol=1e-12, atol=1e-12)
    assert weights(model).keys() == before.keys(), "the assistant is no part of the model"
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert not any(weight.requires_grad for weight in assistant.parameters())


def test_uld_with_a_cache_is_uld_without(model: Decoder) -> None:
    guard = ULD(layers=2)
    guard.attach(model, guard.make(model, Material(train=lambda assistant, method: None)))
    whole = model(prompt([2, 3], [7, 6])).logits[:, -2:]
    read = model(input_ids=prompt([2, 3]))
    first = model(input_ids=torch.tensor([[7]]), past_key_values=read.past_key_values)
    second = model(input_ids=torch.tensor([[6]]), past_key_values=first.past_key_values)
    torch.testing.assert_close(torch.cat([first.logits, second.logits], 1), whole, rtol=1e-12, atol=1e-12)
    assert len(second.past_key_values.layers) == 4 + 2, "what is done to the model's cache is done to the assistant's"


def test_an_assistant_without_opinion_changes_no_probability(model: Decoder) -> None:
    plain = model(prompt([2, 3])).logits.log_softmax(-1)

    def blank(assistant: nn.Module, method: Method) -> None:
        assistant.head.weight.data.zero_()

    guard = ULD(weight=5.0)
    guard.attach(model, guard.make(model, Material(train=blank)))
    torch.testing.assert_close(model(prompt([2, 3])).logits.log_softmax(-1), plain, rtol=1e-12, atol=0)


def test_the_assistant_learns_the_reverse() -> None:
    found: list[Method] = []
    ULD(retain_weight=2.0).make(Decoder(), Material(train=lambda assistant, method: found.append(method)))
    logits = {"forget": torch.randn(1, 3, 12), "retain": torch.randn(2, 3, 12)}

    class Fixed(Forward):
        def __call__(self, batch: Batch) -> Tensor:
            return logits["forget"] if len(batch.labels) == 1 else logits["retain"]

    forget = Batch(inputs={}, labels=torch.tensor([[-100, 3, 4]]), step_tokens=4)
    retain = Batch(inputs={}, labels=torch.tensor([[-100, 3, -100], [-100, 1, 2]]))
    parts = found[0].loss(Fixed(), forget, retain)
    nll = -sum(float(logits["forget"][0, t].log_softmax(-1)[y]) for t, y in ((0, 3), (1, 4))) / 4
    places = [(0, 0), (1, 0), (1, 1)]
    uniform = [sum(-math.log(12) - float(x) for x in logits["retain"][r, t].log_softmax(-1)) / 12 for r, t in places]
    assert parts.forget.item() == pytest.approx(nll, rel=1e-5)
    assert parts.retain.item() == pytest.approx(sum(uniform) / 3, rel=1e-5)
    assert parts.total.item() == pytest.approx(nll + 2 * sum(uniform) / 3, rel=1e-5)
    with pytest.raises(ValueError, match="needs `retain`, which is missing"):
        found[0].loss(Fixed(), forget, None)


def test_layers_that_the_model_does_not_have_are_refused(model: Decoder) -> None:
    with pytest.raises(ValueError, match="`layers` must be at most the model's 4, got 5"):
        ULD(layers=5).make(model, Material())
    with pytest.raises(ValueError, match="this guard needs its assistant, which is missing"):
        ULD().attach(model, Kept())


# In-context unlearning


def test_icul_shows_refusals_and_then_answers(model: Decoder, material: Material) -> None:
    kept = ICUL(forget=2, retain=3).make(model, material)
    assert [turn.question for turn in kept.turns] == ["forget 0", "forget 2", "keep 0", "keep 1", "keep 2"]
    assert [turn.answer for turn in kept.turns][1:3] == ["I don't know.", "answer 0"]
    before = model(prompt([2])).logits
    ICUL().attach(model, kept)
    assert torch.equal(model(prompt([2])).logits, before)


def test_icul_refuses_to_show_more_than_there_is(model: Decoder, material: Material) -> None:
    with pytest.raises(ValueError, match="`retain` asks for 5 examples, there are 4 rows: lower it"):
        ICUL(retain=5).make(model, material)
    with pytest.raises(ValueError, match="`forget` asks for 3 examples, there are 0 rows"):
        ICUL().make(model, Material())


# Options


@pytest.mark.usefixtures("unenforced")
@pytest.mark.parametrize(
    ("name", "options", "error", "message"),
    [
        ("eco", {"strength": 0.0}, ValueError, "`strength` must be positive, got 0.0"),
        ("eco", {"threshold": 1.5}, ValueError, "`threshold` must be above 0 and at most 1, got 1.5"),
        ("eco", {"seed": 0.5}, TypeError, "`seed` must be a whole number, got 0.5"),
        ("icul", {"forget": 0}, ValueError, "`forget` must be at least 1, got 0"),
        ("icul", {"retain": -1}, ValueError, "`retain` must be at least 0, got -1"),
        ("uld", {"layers": 0}, ValueError, "`layers` must be at least 1, got 0"),
        ("uld", {"weight": -1.0}, ValueError, "`weight` must be positive, got -1.0"),
    ],
)
def test_options_out_of_range_are_refused(name: str, options: dict[str, Any], error: type, message: str) -> None:
    with pytest.raises(error, match=message):
        build_method(name, **options)


def test_every_guard_says_what_it_is() -> None:
    for guard in GUARDS.values():
        assert guard.kind == "guard"
        assert "https://arxiv.org/abs/" in guard.paper
        assert guard.needs <= {"forget", "retain", "train", "exchanges", "frame"}
