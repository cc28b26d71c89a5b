"""What a model remembers, for other rows and further tokens, beside plain indexing and concatenation."""

import pytest
import torch
from transformers import DynamicCache
from transformers.cache_utils import LinearAttentionAndFullAttentionLayer
from unlearn_metrics.scoring._cache import PromptCache

ROWS = [2, 0, 2, 1]


def states(rows, tokens, seed):
    return torch.randn(2, rows, 3, tokens, 4, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.fixture
def prompts(models):
    """A cache of three prompts of five tokens in two layers, and what it holds."""
    held, cache = [states(3, 5, layer) for layer in range(2)], DynamicCache()
    for layer, (keys, values) in enumerate(held):
        cache.update(keys, values, layer)
    return PromptCache(models["llama"][0], cache), held


@pytest.mark.parametrize("room", [0, 1, 4, 9])
@pytest.mark.parametrize("last", [True, False])
def test_tokens_follow_the_rows_they_are_for(prompts, room, last):
    """Whether there is room for them or not."""
    memory, held = prompts
    cache = memory.rows(ROWS, room=room, last=last)
    assert cache.get_seq_length() == 5
    for layer, whole in enumerate(held):
        whole = whole[:, ROWS]
        for step, tokens in enumerate((1, 3, 1, 2)):
            fresh = states(4, tokens, 10 + step)
            whole = torch.cat([whole, fresh], dim=-2)
            assert torch.equal(torch.stack(cache.update(*fresh, layer)), whole)
    assert cache.get_seq_length() == 12
    if not last:
        kept = [torch.stack([layer.keys, layer.values]) for layer in memory.cache.layers]
        assert all(map(torch.equal, kept, held))


def test_room_is_used(prompts):
    memory, _ = prompts
    (layer, _) = memory.rows(ROWS, room=2).layers
    start = layer.keys.data_ptr()
    for n, moved in enumerate((False, False, True)):
        keys, _ = layer.update(*states(4, 1, n))
        assert (keys.data_ptr() != start) is moved


def test_rows_leave_more_than_once(prompts):
    memory, held = prompts
    cache = memory.rows([0, 1, 2], room=3, last=True)
    fresh = states(3, 1, 7)
    for layer in range(2):
        cache.update(*fresh, layer)
    after = PromptCache(memory.model, cache).rows([2, 1], room=3, last=True)
    for layer, whole in zip(after.layers, held, strict=True):
        assert torch.equal(torch.stack([layer.keys, layer.values]), torch.cat([whole, fresh], dim=-2)[:, [2, 1]])


def test_what_was_chosen_is_another_s_no_more(prompts):
    memory, held = prompts
    one, other = (memory.rows([0, 1], room=2) for _ in range(2))
    one.update(*states(2, 1, 1), 0)
    found, _ = other.update(*states(2, 1, 2), 0)
    assert torch.equal(found[..., :5, :], held[0][0, :2])
    assert torch.equal(found[..., 5:, :], states(2, 1, 2)[0])


def test_values_of_another_width_and_type(models):
    keys, values = states(2, 3, 0)[0].bfloat16(), states(2, 3, 1)[0][..., :2].bfloat16()
    cache = DynamicCache()
    cache.update(keys, values, 0)
    (layer,) = PromptCache(models["llama"][0], cache).rows([1, 0, 1], room=2).layers
    found = layer.update(keys[[0, 0, 1], :, :1], values[[0, 0, 1], :, :1])
    for got, whole in zip(found, (keys, values), strict=True):
        assert torch.equal(got, torch.cat([whole[[1, 0, 1]], whole[[0, 0, 1], :, :1]], dim=-2))


def test_rows_of_linear_attention_are_not_taken_out(models):
    cache = DynamicCache()
    cache.update(*states(2, 3, 0), 0)
    assert PromptCache(models["llama"][0], cache).divisible()
    cache.layers.append(LinearAttentionAndFullAttentionLayer())
    assert not PromptCache(models["llama"][0], cache).divisible()
