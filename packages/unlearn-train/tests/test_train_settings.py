import math

import pytest
from unlearn_train.settings import EvaluateOptions, ModelOptions, TinySize, TrainOptions


@pytest.mark.parametrize("name", ["epochs", "batch_size", "accumulation", "learning_rate", "max_grad_norm"])
@pytest.mark.parametrize("value", [0, -1, math.nan, math.inf])
def test_what_must_be_positive_is(name, value):
    with pytest.raises(ValueError, match=f"`{name}` must be positive, got {value}"):
        TrainOptions(**{name: value})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"warmup": 1.0}, r"`warmup` must be in \[0, 1\), got 1.0"),
        ({"warmup": -0.1}, r"`warmup` must be in \[0, 1\), got -0.1"),
        ({"warmup": math.nan}, r"`warmup` must be in \[0, 1\), got nan"),
        ({"weight_decay": -1}, "`weight_decay` must not be negative, got -1"),
        ({"weight_decay": math.nan}, "`weight_decay` must not be negative, got nan"),
        ({"lora_l1": 0.1}, "`lora_l1` weighs what LoRA adds to the weights; set `lora` as well"),
        ({"schedule": "cosin"}, "`schedule` must be one of constant, cosine, linear, got 'cosin'"),
        ({"precision": "fp8"}, "`precision` must be one of fp32, bf16, got 'fp8'"),
        ({"seed": -1}, r"`seed` must be in \[0, 2\^32\), got -1"),
        ({"seed": 2**32}, r"`seed` must be in \[0, 2\^32\)"),
    ],
)
def test_training_refuses_what_is_out_of_range(options, message):
    with pytest.raises(ValueError, match=message):
        TrainOptions(**options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"heads": 0}, "`heads` must be positive, got 0"),
        ({"layers": -1}, "`layers` must be positive, got -1"),
        ({"hidden": 130}, "multiples of `heads`, got 130"),
        ({"vision_hidden": 97}, "multiples of `heads`, got 128, 97 and 4"),
        ({"image_size": 65}, "`image_size` must be a multiple of `patch`, got 65 and"),
    ],
)
def test_sizes_must_fit_one_another(options, message):
    with pytest.raises(ValueError, match=message):
        TinySize(**{"hidden": 128, "vision_hidden": 96, "heads": 4, "image_size": 64, "patch": 8} | options)


def test_models_refuse_what_they_cannot_be():
    with pytest.raises(ValueError, match="`dtype` must be one of float32, bfloat16, float16, got 'int8'"):
        ModelOptions(dtype="int8")
    with pytest.raises(ValueError, match="`chat_template` is for a checkpoint; name one"):
        ModelOptions(chat_template="a.jinja")


@pytest.mark.parametrize("name", ["rows", "max_new_tokens", "batch_tokens"])
def test_nothing_cannot_be_asked(name):
    with pytest.raises(ValueError, match=f"`{name}` must be positive, got 0"):
        EvaluateOptions(**{name: 0})
