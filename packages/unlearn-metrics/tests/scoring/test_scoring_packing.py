"""Answers in one sequence: where their tokens stand, and attention beside a plain one in float64."""

import copy
import itertools
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from transformers import DynamicCache
from unlearn_metrics.scoring import Encoder, _forward, score
from unlearn_metrics.scoring._batches import AnswerBatch
from unlearn_metrics.scoring._cache import PromptCache
from unlearn_metrics.scoring._forward import Forward
from unlearn_metrics.scoring._packing import PackedAttention, Packing, _packed_attention, is_packable
from unlearn_metrics.scoring._requests import Answer

END = 2
QUESTIONS = ["Where does Ada live?", "Where does Bob live?", "Where does Eva live?"]
# Of answers to one question: one begins like another, ends where another goes on, is a token, or is like no other.
ANSWERS = [
    [[5, 6, 7, 8, END], [5, 6, 9, END], [5, 6, 7, END], [END], [7, 6, 5, END]],
    [[4, END]],
    [[5, 6, 7, END], [5, 6, 7, 8, 9, 10, 11, END]],
]


@pytest.fixture
def batch(models):
    """Three prompts of one length."""
    encoder, numbers = Encoder(models["llama"][1]), itertools.count()
    prompts = [encoder.prompt(question) for question in QUESTIONS]
    assert len({len(prompt.ids) for prompt in prompts}) == 1
    return AnswerBatch(
        [
            [Answer(next(numbers), prompt, ids, "r") for ids in answers]
            for prompt, answers in zip(prompts, ANSWERS, strict=True)
        ]
    )


def remembered(model, batch, heads=2, layers=1, dtype=torch.float64):
    """What a model might remember of the prompts."""
    cache, generator = DynamicCache(), torch.Generator().manual_seed(0)
    for layer in range(layers):
        shape = (len(batch.prompts), heads, len(batch.prompts[0].ids), 4)
        cache.update(*torch.randn(2, *shape, generator=generator, dtype=dtype), layer)
    return PromptCache(model, cache)


def test_each_beginning_stands_in_the_sequence_once(models, batch):
    length = len(batch.prompts[0].ids)
    packing = Packing(batch, [length, length + 3, length - 2])
    beginnings = {
        (row, tuple(answer.ids[:n]))
        for row, answers in enumerate(batch.answers)
        for answer in answers
        for n in range(1, len(answer.ids))
    }
    assert len(packing.ids) == len(packing.positions) == len(beginnings)
    whole = [token for answer in packing.answers for token in answer.ids]
    assert [packing.predicted[number] for number in packing.numbers] == whole
    assert sorted(answer.number for answer in packing.answers) == list(range(8))
    # The token that predicts each is one place before it.
    ends = [length - 1, length + 2, length - 3]
    starts = np.cumsum([0, *(len(answer.ids) for answer in packing.answers)])
    for answer, start in zip(packing.answers, starts[:-1], strict=True):
        end = ends[batch.prompts.index(answer.prompt)]
        predicting = [packing.predicting[number] for number in packing.numbers[start : start + len(answer.ids)]]
        found = [(ends + packing.positions)[each] for each in predicting]
        assert found == [end + n for n in range(len(answer.ids))]


@pytest.mark.parametrize("most", [1, 2, 100])
@pytest.mark.parametrize("groups", [1, 2])
def test_attention_is_that_of_each_answer_alone(models, batch, most, groups):
    memory = remembered(models["llama"][0], batch)
    packing = Packing(batch, memory.positions(3))
    generator = torch.Generator().manual_seed(1)
    query = torch.randn(1, 2 * groups, len(packing.ids), 4, generator=generator, dtype=torch.float64)
    key, value = torch.randn(2, 1, 2, len(packing.ids), 4, generator=generator, dtype=torch.float64)
    module = SimpleNamespace(layer_idx=0, num_key_value_groups=groups, is_causal=True)
    found, _ = PackedAttention(packing, memory, most)(module, query, key, value, scaling=0.3)
    assert found.shape == (1, len(packing.ids), 2 * groups, 4)
    seen = set()
    starts = np.cumsum([0, *(len(answer.ids) for answer in packing.answers)])
    for answer, start in zip(packing.answers, starts[:-1], strict=True):
        row = next(n for n, answers in enumerate(batch.answers) if answer in answers)
        numbers = packing.numbers[start : start + len(answer.ids)]
        places = [packing.predicting[number] - len(batch.prompts) for number in numbers[1:]]
        assert [packing.ids[place] for place in places] == answer.ids[:-1]
        (layer,) = memory.cache.layers
        for n, place in enumerate(places):
            keys, values = (
                torch.cat([held[row], own[0][:, places[: n + 1]]], dim=1)
                for held, own in ((layer.keys, key), (layer.values, value))
            )
            for head in range(2 * groups):
                weights = (query[0, head, place] @ keys[head // groups].T * 0.3).softmax(-1)
                torch.testing.assert_close(found[0, place, head], weights @ values[head // groups])
            seen.add(place)
    assert seen == set(range(len(packing.ids)))


def test_answers_of_one_token_need_no_sequence(models, batch):
    alone = AnswerBatch([[answers[0]._replace(ids=[END])] for answers in batch.answers])
    packing = Packing(alone, [5, 5, 5])
    assert (packing.ids, packing.places) == ([], [])
    assert (packing.predicted, packing.predicting) == ([END] * 3, [0, 1, 2])
    model, processor = models["llama"]
    forward = Forward(model, Encoder(processor))
    for one, answers in zip(forward.score(alone), batch.answers, strict=True):
        (wanted,) = forward.score(AnswerBatch([[answers[0]]]))
        assert one.tokens.tolist() == [END]
        assert wanted.mean[0] == pytest.approx(one.mean[0], abs=1e-5)
    # Nothing was chosen by what shows nothing.
    assert set(forward.chosen) <= {((), False, True)}


@pytest.mark.parametrize("share", [None, True])
def test_other_attention_is_left_to_itself(models, batch, share):
    """Scores are those of the plain way, and the model is as it was."""
    model, processor = models["llama"]
    wanted = Forward(model, Encoder(processor), share_prompts=False).score(batch)
    for own, is_packed in (("sdpa", True), ("eager", False)):
        model.set_attn_implementation(own)
        try:
            forward = Forward(model, Encoder(processor), share_prompts=share)
            found = forward.score(batch)
            assert model.config._attn_implementation == own
        finally:
            model.set_attn_implementation("sdpa")
        (ways,) = forward.chosen.values()
        assert (ways.prompts, ways.packed) == (True, is_packed)
        for one, other in zip(wanted, found, strict=True):
            for mine, theirs in zip(one, other, strict=True):
                np.testing.assert_allclose(mine, theirs, rtol=0, atol=1e-5)


def test_a_failed_pass_leaves_the_model_as_it_was(models, batch):
    model = models["llama"][0]
    memory = remembered(model, batch, layers=2)
    attention = PackedAttention(Packing(batch, memory.positions(3)), memory, most=100)
    with pytest.raises(RuntimeError, match="a failure"), attention.in_place():
        raise RuntimeError("a failure")
    assert model.config._attn_implementation == "sdpa"
    with pytest.raises(NotImplementedError, match="did not take"), attention.in_place():
        pass
    assert model.config._attn_implementation == "sdpa"


def test_other_parts_of_a_model_keep_their_attention(models, batch, monkeypatch):
    config = models["llava"][0].config
    monkeypatch.setattr(config, "get_text_config", lambda: config)
    memory = remembered(models["llava"][0], batch, layers=0)
    with PackedAttention(Packing(batch, memory.positions(3)), memory, most=100).in_place():
        assert config._attn_implementation != "sdpa"
        assert config.vision_config._attn_implementation == "sdpa"
    assert config._attn_implementation == config.vision_config._attn_implementation == "sdpa"


def test_what_a_model_hides_is_not_shown(models, batch):
    memory = remembered(models["llama"][0], batch)
    attention = PackedAttention(Packing(batch, memory.positions(3)), memory, most=100)
    with pytest.raises(NotImplementedError, match="hides more"):
        _packed_attention(None, None, None, None, torch.zeros(1), packed=attention)


def test_memory_that_ends_in_a_packed_pass_halves_the_batch(models, make_rows, monkeypatch):
    model, processor = models["llama"]
    rows, forward, sizes = make_rows(9), model.model.forward, []
    wanted = score(model, processor, rows, set_name="a")

    def small(*args, input_ids, **kwargs):
        if "packed" in kwargs:
            sizes.append(input_ids.numel())
            if input_ids.numel() > 30:
                raise torch.OutOfMemoryError("CUDA out of memory.")
        return forward(*args, input_ids=input_ids, **kwargs)

    monkeypatch.setattr(model.model, "forward", small)
    found = score(model, processor, rows, set_name="a")
    assert model.config._attn_implementation == "sdpa"
    assert max(sizes) > 30
    for one, other in zip(wanted["logp"].to_pylist(), found["logp"].to_pylist(), strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("change", "wanted"),
    [
        ({"original_max_position_embeddings": 20}, False),
        ({"original_max_position_embeddings": 400}, True),
        ({"full": {"original_max_position_embeddings": 20}, "sliding": {"rope_theta": 1.0}}, False),
    ],
)
def test_answers_that_stretch_the_positions_of_others_are_not_packed(models, batch, monkeypatch, change, wanted):
    monkeypatch.setattr(models["llama"][0].config, "rope_parameters", change)
    assert is_packable(models["llama"][0], batch) is wanted


def test_a_window_that_hides_the_prompt_is_heeded(models, batch, monkeypatch):
    config, length = models["llama"][0].config, len(batch.prompts[0].ids)
    for window, fits in ((length + 8, True), (length + 7, False), (6, False), (None, True)):
        monkeypatch.setattr(config, "sliding_window", window, raising=False)
        assert is_packable(models["llama"][0], batch) is fits
    for name in ("attention_chunk_size", "attn_temperature_tuning"):
        with monkeypatch.context() as patch:
            patch.setattr(config, name, 8192, raising=False)
            assert not is_packable(models["llama"][0], batch), "Llama 4 scales by places in the sequence"


def test_layers_that_differ_are_not_asked_in_common(models, batch, monkeypatch):
    class Differing:
        is_heterogeneous = True

        def __getattr__(self, name):
            raise RuntimeError(f"{name} differs")

    monkeypatch.setattr(models["llama"][0].config, "get_text_config", Differing)
    assert not is_packable(models["llama"][0], batch)


def test_a_position_that_is_wrong_shows_in_half_precision(models, batch, monkeypatch):
    """Where each token may be as far from the plain one as one likes."""
    model, processor = models["llama"]
    monkeypatch.setattr(_forward, "tolerance", lambda model: 100.0)
    own = PromptCache.positions
    for shift, is_packed in ((0, True), (1, False)):
        monkeypatch.setattr(PromptCache, "positions", lambda self, rows, by=shift: [at + by for at in own(self, rows)])
        forward = Forward(copy.deepcopy(model).bfloat16(), Encoder(processor))
        forward.score(AnswerBatch(batch.answers[:1]))
        (ways,) = forward.chosen.values()
        assert ways.packed is is_packed


@pytest.mark.parametrize("longest_first", [True, False])
def test_batches_within_a_window_and_beyond_are_each_read_rightly(models, batch, longest_first):
    from transformers import MistralConfig, MistralForCausalLM

    processor, length = models["llama"][1], len(batch.prompts[0].ids)
    size = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = MistralConfig(**size, num_key_value_heads=1, vocab_size=len(processor), sliding_window=length + 6)
    config.initializer_range = 0.5
    torch.manual_seed(0)
    model = MistralForCausalLM(config).eval()
    short = AnswerBatch(batch.answers[:1])
    long = AnswerBatch(batch.answers[2:])
    plain = Forward(model, Encoder(processor), share_prompts=False)
    forward = Forward(model, Encoder(processor))
    for each in (long, short) if longest_first else (short, long):
        for one, other in zip(plain.score(each), forward.score(each), strict=True):
            np.testing.assert_allclose(one.logp, other.logp, rtol=0, atol=1e-5)
    assert {fits: ways.packed for (_, _, fits), ways in forward.chosen.items()} == {True: True, False: False}
