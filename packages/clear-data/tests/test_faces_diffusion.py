"""Any pipeline: a tiny Stable Diffusion, built from the diffusers classes, through the real code."""

import json
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="needs the extra [generate]")
pytest.importorskip("diffusers", reason="needs the extra [generate]")

from clear_data.faces import FaceRequest, PipelineFaces, PipelineOptions, PortraitPool  # noqa: E402
from clear_data.faces.prompts import prompt_for  # noqa: E402
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel  # noqa: E402
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer  # noqa: E402

# diffusers still scripts a function of one of its pipelines when it is imported.
pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated:DeprecationWarning")

OPTIONS = PipelineOptions(steps=2, size=32, batch=2, strength=0.5)
ADA = FaceRequest(subject="s1", name="Ada Okafor", age=41, gender="female")
BEN = FaceRequest(subject="s2", name="Ben Adeyemi", age=30, gender="male")


def tiny_tokenizer(folder: Path) -> CLIPTokenizer:
    letters = [chr(c) for c in range(33, 127)]
    tokens = [*letters, *(letter + "</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    (folder / "vocab.json").write_text(json.dumps({token: n for n, token in enumerate(tokens)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    return CLIPTokenizer(str(folder / "vocab.json"), str(folder / "merges.txt"), model_max_length=77)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    tokenizer = tiny_tokenizer(tmp_path_factory.mktemp("tokenizer"))
    text = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        intermediate_size=16,
        num_attention_heads=2,
        num_hidden_layers=1,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    unet = UNet2DConditionModel(
        sample_size=16,
        block_out_channels=(8, 8),
        layers_per_block=1,
        cross_attention_dim=16,
        norm_num_groups=4,
        attention_head_dim=4,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
    )
    vae = AutoencoderKL(
        block_out_channels=(8, 8),
        norm_num_groups=4,
        latent_channels=4,
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
    )
    parts = {"vae": vae, "text_encoder": CLIPTextModel(text), "tokenizer": tokenizer, "unet": unet}
    pipeline = StableDiffusionPipeline(
        **parts,
        scheduler=DDIMScheduler(steps_offset=1, clip_sample=False),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    place = tmp_path_factory.mktemp("stable-diffusion")
    pipeline.save_pretrained(place)
    return place


def draw(source: PipelineFaces, requests: list[FaceRequest], **options) -> dict[str, list[bytes]]:
    options = {"count": 3, "seed": 0} | options
    count = options.pop("count")
    return {who: [i.tobytes() for i in images] for who, images in source.photographs(requests, count, **options)}


@pytest.mark.parametrize("portraits", [False, True], ids=["text", "image"])
def test_tiny_stable_diffusion(folder: Path, portraits: bool) -> None:
    pool = PortraitPool.load() if portraits else None
    source = PipelineFaces(folder, pool=pool, options=OPTIONS)
    whole = draw(source, [ADA, BEN])
    assert whole == draw(PipelineFaces(folder, pool=pool, options=OPTIONS), [BEN, ADA])
    assert draw(source, [ADA, BEN], done=["s1"]) == {"s2": whole["s2"]}
    assert len({image for images in whole.values() for image in images}) == 6
    assert {len(image) for images in whole.values() for image in images} == {3 * 32 * 32}


def test_black_photographs_are_drawn_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = PipelineFaces(folder, options=OPTIONS)
    real, flags = source._loaded, [[True, False], [False, False], *[[True, True]] * 4]

    def checked(**arguments: object) -> object:
        drawn = real(**arguments)
        drawn.nsfw_content_detected = flags.pop(0)
        return drawn

    monkeypatch.setitem(source.__dict__, "_loaded", checked)
    assert len(draw(source, [ADA], count=2)["s1"]) == 2
    with pytest.raises(ValueError, match="blacked out photographs of 's1' 4 times"):
        draw(source, [ADA], count=2)


def test_prompts_are_clears_and_differ() -> None:
    prompts = [prompt_for(ADA, index, seed=0) for index in range(8)]
    start = "a real photo of a 41 years old female called Ada Okafor img, showing face, "
    assert all(prompt.startswith(start) for prompt in prompts)
    assert len(set(prompts)) > 4


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"prompt": "{nose}"}, r"`prompt` may name .*, got \['nose'\]"),
        ({"prompt": "{"}, "no valid template"),
        ({"steps": 0}, "`steps` must be at least 1"),
        ({"size": 65}, "multiple of 8, got 65"),
        ({"strength": 1.5}, "`strength` must be above 0"),
        ({"steps": 1, "strength": 0.5}, "must reach 1"),
        ({"dtype": "int8"}, "`dtype` must be"),
    ],
)
def test_options_refuse(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PipelineOptions(**options)


def test_no_pipeline(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no diffusers pipeline"):
        PipelineFaces(tmp_path)
    (tmp_path / "model_index.json").write_text('{"_class_name": "Unheard"}')
    with pytest.raises(ValueError, match="cannot be loaded by AutoPipelineForText2Image"):
        draw(PipelineFaces(tmp_path, options=OPTIONS), [ADA])


def test_description_tells_options_and_weights(folder: Path) -> None:
    shown = PipelineFaces(folder, options=OPTIONS).describe()
    json.dumps(shown)
    assert "device" not in shown and shown["steps"] == 2
    assert PipelineFaces(folder).describe()["pipeline"] == shown["pipeline"] != str(folder)
    assert PipelineFaces("somebody/something").describe()["pipeline"] == "somebody/something"
