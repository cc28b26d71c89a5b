"""The default source: the pool and the pipeline that ship."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="needs the extra [generate]")
pytest.importorskip("diffusers", reason="needs the extra [generate]")

from clear_data.faces import FaceRequest, Framing, PortraitFaces  # noqa: E402
from clear_data.faces import portrait as portrait_module  # noqa: E402
from clear_data.faces.identity import pixel_difference  # noqa: E402
from clear_data.faces.pipeline import PortraitPhotographPipeline, frame, from_pil, to_pil  # noqa: E402
from diffusers import DDIMScheduler, UNet2DModel  # noqa: E402

REQUESTS = [
    FaceRequest(subject=f"s{n}", name="Ada Okafor", age=30 + n, gender=("female", "male")[n % 2]) for n in range(3)
]


def tiny_pipeline() -> PortraitPhotographPipeline:
    torch.manual_seed(0)
    unet = UNet2DModel(
        sample_size=32,
        in_channels=24,
        out_channels=12,
        block_out_channels=(8, 8),
        layers_per_block=1,
        norm_num_groups=4,
        down_block_types=("DownBlock2D",) * 2,
        up_block_types=("UpBlock2D",) * 2,
        add_attention=False,
    )
    scheduler = DDIMScheduler(prediction_type="v_prediction", timestep_spacing="trailing", clip_sample=False)
    return PortraitPhotographPipeline(unet, scheduler)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tiny")
    tiny_pipeline().save_pretrained(folder)
    return folder


def draw(source: PortraitFaces, requests: list[FaceRequest] = REQUESTS, **options) -> dict[str, list[bytes]]:
    options = {"count": 2, "seed": 0} | options
    count = options.pop("count")
    return {who: [i.tobytes() for i in images] for who, images in source.photographs(requests, count, **options)}


def test_shipped_source_draws_different_photographs_again_and_again() -> None:
    source = PortraitFaces(steps=2)
    first = draw(source)
    assert first == draw(PortraitFaces(steps=2))
    assert len({image for images in first.values() for image in images}) == 6
    assert first != draw(source, seed=1)


def test_shipped_photographs_show_the_person_and_are_no_copies() -> None:
    source = PortraitFaces()
    chosen = source.pool.assign(REQUESTS, seed=0)
    for subject, images in source.photographs(REQUESTS, 2, seed=0):
        portrait = from_pil([source.pool.portrait(chosen[subject])])
        for index, image in enumerate(images):
            assert image.size == (64, 64) and image.mode == "RGB"
            drawn = (from_pil([image]) - frame(portrait, [source.framing(subject, index, seed=0)])).abs().mean() * 127.5
            assert 2 < drawn < 25
            assert pixel_difference(image, to_pil(portrait)[0]) > 8


def test_variation_is_how_far_the_network_goes() -> None:
    still, moved = (draw(PortraitFaces(variation=variation, steps=4)) for variation in (0.0, 1.0))
    assert still != moved
    with pytest.raises(ValueError, match=r"`variation` must be from 0 to 1, got 1\.5"):
        PortraitFaces(variation=1.5)


def test_order_and_resumption_change_nothing(tiny: Path) -> None:
    source = PortraitFaces(pipeline=tiny, steps=2)
    whole = draw(source)
    assert list(whole) == ["s0", "s1", "s2"]
    backwards = draw(source, REQUESTS[::-1])
    assert whole == backwards and list(backwards) == ["s2", "s1", "s0"]
    assert draw(source, done={"s0", "s2"}) == {"s1": whole["s1"]}


def test_nothing_is_loaded_where_all_is_done(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PortraitFaces, "_draw", None)
    assert draw(PortraitFaces(pipeline=tiny), done={"s0", "s1", "s2"}) == {}


def test_description_tells_sources_apart(tiny: Path) -> None:
    shown = [PortraitFaces(pipeline=tiny, steps=steps).describe() for steps in (2, 3)] + [PortraitFaces().describe()]
    assert len({json.dumps(one) for one in shown}) == 3
    assert shown[0] == PortraitFaces(pipeline=tiny, steps=2).describe()


def test_errors_come_before_drawing(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match=r"no pipeline: it has no model_index\.json"):
        PortraitFaces(pipeline=tmp_path)
    with pytest.raises(ValueError, match="`steps` must be at least 1, got 0"):
        PortraitFaces(steps=0)
    with pytest.raises(ValueError, match="empty"):
        PortraitFaces(pipeline=tiny).photographs([], 1, seed=0)
    monkeypatch.setattr("clear_data.faces._extra.find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r'pip install "clear-data\[generate\]"'):
        PortraitFaces(pipeline=tiny)


def test_broken_pipeline_is_named(tiny: Path, tmp_path: Path) -> None:
    index = json.loads((tiny / "model_index.json").read_text())
    (tmp_path / "model_index.json").write_text(json.dumps(index))
    with pytest.raises(ValueError, match="cannot be loaded as a PortraitPhotographPipeline"):
        draw(PortraitFaces(pipeline=tmp_path))


def test_pipeline_draws_from_its_own_noise_alone() -> None:
    pipeline = tiny_pipeline()
    pipeline.set_progress_bar_config(disable=True)
    portraits = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1

    def run(seeds: list[int]) -> torch.Tensor:
        generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        return pipeline(portraits, [Framing()] * 2, generators, num_inference_steps=2, output_type="pt").images

    first, second = run([1, 2]), run([1, 3])
    assert torch.allclose(first[0], second[0], atol=1e-5)
    assert not torch.allclose(first[1], second[1], atol=1e-2)


def test_pipeline_refuses_other_shapes() -> None:
    pipeline = tiny_pipeline()
    with pytest.raises(ValueError, match=r"must be \(batch, 3, 64, 64\), got \(1, 3, 32, 32\)"):
        pipeline(torch.zeros(1, 3, 32, 32), [Framing()], [torch.Generator()])
    with pytest.raises(ValueError, match="equally many, got 1, 2 and 1"):
        pipeline(torch.zeros(1, 3, 64, 64), [Framing()] * 2, [torch.Generator()])


def checker() -> torch.Tensor:
    return torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(1)) * 2 - 1


def test_default_framing_changes_nothing() -> None:
    assert torch.allclose(frame(checker(), [Framing()]), checker(), atol=1e-5)


def test_flip_mirrors() -> None:
    assert torch.allclose(frame(checker(), [Framing(flip=True)]), checker().flip(-1), atol=1e-5)


@pytest.mark.parametrize("name", ["zoom", "exposure", "contrast", "saturation", "warmth", "light", "rotation"])
def test_every_control_acts(name: str) -> None:
    value = {"zoom": 1.2, "contrast": 0.8, "saturation": 0.5, "rotation": 5.0}.get(name, 0.2)
    changed = frame(checker(), [replace(Framing(), **{name: value})])
    assert (changed - checker()).abs().mean() > 0.01
    assert changed.abs().max() <= 1


def test_light_brightens_one_side() -> None:
    lit = frame(torch.zeros(1, 3, 8, 8), [Framing(light=0.4, light_angle=0.0)])
    assert lit[..., -1].mean() > 0 > lit[..., 0].mean()


def test_images_survive_the_way_there_and_back() -> None:
    images = to_pil(checker())
    assert to_pil(from_pil(images))[0].tobytes() == images[0].tobytes()


def test_shipped_assets_are_small() -> None:
    def size(folder: Path) -> int:
        return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())

    assert size(portrait_module.SHIPPED) <= 8_000_000
    assert size(portrait_module.SHIPPED.parent / "pool") <= 2_000_000
