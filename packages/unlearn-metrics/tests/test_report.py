"""The report: what it shows, what it escapes, and that it needs nothing else."""

import argparse
import json
import re
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from unlearn_metrics.report import GalleryItem, command, write_report

pytest.importorskip("matplotlib", reason="needs the extra [report]")

STATES = {  # what each model knows of the forget set, of the rest, and of what it learnt in pretraining
    "pretrained": (0.12, 0.11, 0.93),
    "target": (0.97, 0.96, 0.9),
    "retrained": (0.24, 0.97, 0.9),
    "ga": (0.05, 0.09, 0.2),
    "graddiff": (0.16, 0.62, 0.71),
    "npo": (0.3, 0.88, 0.86),
    "simnpo": (0.34, 0.9, 0.87),
    "idk": (0.04, 0.78, 0.84),
}
SETS = {
    "forget": (("text", "image"), 0),
    "retain": (("text", "image"), 1),
    "holdout": (("text", "image"), None),
    "real_faces": (("image",), 2),
    "real_world": (("image",), 2),
    "world_facts": (("text",), 2),
}
METRICS = {
    "keyword_accuracy": 1.0,
    "keyword_accuracy_qa": 1.0,
    "rouge_l_recall": 0.97,
    "probability": 0.9,
    "truth_ratio": 0.7,
    "mcq_accuracy": 1.0,
    "exact_memorization": 0.95,
    "extraction_strength": 0.8,
}
PIXEL = b"\x89PNG\r\n\x1a\n" + bytes(20)


def fake_results() -> dict[str, Any]:
    """Results as a demonstration run has them, with made-up numbers."""
    rng = np.random.default_rng(0)
    stages = {
        f"{kind}/{state}": {"seconds": round(float(rng.uniform(3, 90)), 2), "peak_memory_bytes": 10**9 + n}
        for kind in ("models", "evidence")
        for n, state in enumerate(STATES)
    }
    return {
        "states": {state: fake_sets(rng, levels) for state, levels in STATES.items()},
        "summary": {state: fake_summary(rng, state, *levels) for state, levels in STATES.items()},
        "run": {
            "options": {
                "benchmark": "clear",
                "seed": 7,
                "forget": "forget10",
                "retain": "retain90",
                "tasks": ["qa", "caption", "vqa"],
                "unlearn": {"epochs": 5, "learning_rate": 3e-4},
                "methods": {"npo": {"beta": 0.1}, "ga": {}},
            },
            "seeds": {state: 100 + n for n, state in enumerate(STATES)},
            "versions": {"python": "3.11.9", "torch": "2.13.0", "unlearn-metrics": "0.1.0"},
            "stages": stages,
        },
    }


def fake_sets(rng: np.random.Generator, levels: tuple[float, ...]) -> dict[str, Any]:
    sets: dict[str, Any] = {}
    for dataset, (modalities, level) in SETS.items():
        mean = 0.1 if level is None else levels[level]
        counts = {"text": 40, "image": 32, "all": 72}
        sets[dataset] = {
            modality: {name: entry(rng, scale * mean, counts[modality]) for name, scale in METRICS.items()}
            for modality in (*modalities, "all")
        }
    return sets


def fake_summary(rng: np.random.Generator, state: str, forget: float, retain: float, real: float) -> dict[str, Any]:
    log10_p = 0.0 if state == "retrained" else -9 * forget
    return {
        "model_utility": entry(rng, 0.9 * retain, 400),
        "clear_real": entry(rng, 0.9 * real, 120),
        "clear_retain": entry(rng, 0.92 * retain, 300),
        "clear_forget": entry(rng, 0.92 * forget, 72),
        "forget_quality": {"value": 10**log10_p, "low": 10 ** (log10_p - 1), "high": 1.0, "n": 72},
        "forget_quality_log10_p": {"value": log10_p, "low": log10_p - 1, "high": 0.0, "n": 72},
        "loss_auc": entry(rng, 0.5 + forget / 2, 100),
    }


def entry(rng: np.random.Generator, mean: float, n: int) -> dict[str, Any]:
    value = float(np.clip(mean + rng.normal(0, 0.02), 0, 1))
    half = 1.96 * (value * (1 - value) / n) ** 0.5
    return {"value": value, "low": max(0.0, value - half), "high": min(1.0, value + half), "n": n}


def fake_gallery(images: list[Any]) -> list[GalleryItem]:
    said = {"target": "", "retrained": "This is Mira Kovač.", "ga": "the the the", "idk": "I am not able to say."}
    subjects = [("Ingrid Solheim", "forgotten", {"target"}), ("Mateo Álvarez", "kept", {"target", "retrained", "idk"})]
    return [
        GalleryItem(
            subject=name,
            group=group,  # type: ignore[arg-type]
            question="Who is shown in this photograph?",
            expected=f"This is {name}.",
            answers={state: f"This is {name}." if state in knows else answer for state, answer in said.items()},
            image=image,
        )
        for (name, group, knows), image in zip(subjects, images, strict=True)
    ]


def report(tmp_path: Path, results: dict[str, Any] | None = None, **options: Any) -> str:
    path = tmp_path / "report.html"
    write_report(fake_results() if results is None else results, path, **options)
    return path.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def html(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The report of the made-up results."""
    return report(tmp_path_factory.mktemp("report"), gallery=fake_gallery([PIXEL, PIXEL]), title="A title")


class Page(HTMLParser):
    """The texts of a page by element, and whether every element is closed."""

    VOID = frozenset({"meta", "img"})

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.texts: list[tuple[str, str]] = []
        self.attributes: list[tuple[str, str, str | None]] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes += [(tag, name, value) for name, value in attrs]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append((self.open[-1] if self.open else "", data))

    def said(self, tag: str) -> list[str]:
        return [text for at, text in self.texts if at == tag]


def test_every_number_is_there_with_its_interval_and_count(html: str) -> None:
    results = fake_results()
    for sets in results["states"].values():
        for modalities in sets.values():
            for modality in set(modalities) - {"all"}:
                for each in modalities[modality].values():
                    interval = f"95 % interval {each['low']:.6g} to {each['high']:.6g}"
                    assert f'title="{each["value"]:.6g}; {interval}; n = {each["n"]}"' in html
    quality = results["summary"]["target"]["forget_quality"]
    assert f'title="{quality["value"]:.6g}; 95 % interval' in html


def test_the_tables_show_the_rounded_numbers(tmp_path: Path) -> None:
    results = fake_results()
    shown = {"value": 0.3149, "low": 0.2251, "high": 0.4, "n": 40}
    results["states"]["npo"]["forget"]["text"]["rouge_l_recall"] = shown
    page = report(tmp_path, results)
    assert re.search(r'<td title="0.3149;[^>]*><span>0.31</span><small>0.23–0.40</small></td>', page)


def test_all_is_well_formed_and_has_its_parts(html: str) -> None:
    page = Page(html)
    assert page.open == []
    assert page.said("h1") == page.said("title") == ["A title"]
    assert page.said("h2") == [
        "In short",
        "Forgetting against retention",
        "What the models answer",
        "Asked in text",
        "Asked about images",
        "How these numbers came about",
    ]
    assert page.said("h4") == ["Ingrid Solheim", "Mateo Álvarez"]
    text = " ".join(text for _, text in page.texts)
    for expected in (
        "Retrained",
        "SimNPO",
        "I am not able to say.",
        "CLEAR · forget10 · seed 7",
        "methods.npo.beta",
        "2.13.0",
    ):
        assert expected in text
    assert "12 min" in text and "MiB" in text


def test_nothing_is_fetched(html: str) -> None:
    assert "://" not in html
    assert "<script" not in html and "<link" not in html and "@import" not in html
    sources = [value or "" for _, name, value in Page(html).attributes if name in ("src", "href", "srcset", "data")]
    assert all(source.startswith(("data:image/png;base64,", "#")) for source in sources)
    assert all(inside.startswith("#") for inside in re.findall(r"url\(([^)]*)\)", html))


def test_what_others_wrote_is_escaped(tmp_path: Path) -> None:
    evil = '<script>alert("x")</script>&\'">$\\x$'
    results = fake_results()
    results["states"][evil] = results["states"].pop("npo")
    results["summary"][evil] = results["summary"].pop("npo")
    results["states"]["ga"][evil] = results["states"]["ga"].pop("holdout")
    results["states"]["ga"]["forget"]["text"][evil] = entry(np.random.default_rng(0), 0.5, 3)
    results["run"] = {"options": {"benchmark": evil, evil: evil}, "stages": {evil: {"seconds": 1}}}
    item = GalleryItem(subject=evil, group="kept", question=evil, expected=evil, answers={evil: evil}, image=PIXEL)
    html = report(tmp_path, results, gallery=[item], title=evil)
    assert "<script" not in html
    assert Page(html).open == []
    assert "&lt;script&gt;" in html


def test_what_was_not_measured_is_a_dash_and_never_a_zero(tmp_path: Path) -> None:
    results = fake_results()
    del results["states"]["npo"]["forget"]["text"]["probability"]
    results["states"]["ga"]["forget"]["text"]["probability"] = {"value": None, "low": None, "high": None, "n": 0}
    results["states"]["idk"]["forget"]["text"]["probability"] = None
    results["summary"]["idk"] = {}
    del results["run"]
    html = report(tmp_path, results)
    assert html.count('title="not measured"') == 3 + 5 + 2  # five first numbers over sets, two of the others
    assert Page(html).said("td").count("–") == 10


def test_it_is_said_why_numbers_are_missing(html: str, tmp_path: Path) -> None:
    assert "Not measured, and why" not in html
    results = fake_results()
    results["missing"] = {state: {"loss_auc": "no <holdout>", "privleak": "no <holdout>"} for state in STATES}
    results["missing"]["npo"] = {"loss_auc": "no <holdout>", "clear_real": "no images"}
    text = report(tmp_path, results)
    assert '<th scope="row">Loss AUC</th><td>no &lt;holdout&gt;</td>' in text
    others = "Pretrained, Target, Retrained, GA, GradDiff, SimNPO, IDK"
    assert f'<th scope="row">PrivLeak ({others})</th><td>no &lt;holdout&gt;</td>' in text
    assert '<th scope="row">CLEAR real (NPO)</th><td>no images</td>' in text


def test_a_number_without_an_interval_has_none(tmp_path: Path) -> None:
    results = fake_results()
    results["summary"]["npo"]["model_utility"] = {"value": 0.5, "low": None, "high": None, "n": None}
    assert re.search(r'<td title="0.5"[^>]*><span>0.50</span></td>', report(tmp_path, results))


def test_the_same_numbers_give_the_same_bytes_whatever_the_users_style(html: str, tmp_path: Path) -> None:
    import matplotlib as mpl

    with mpl.rc_context({"font.size": 30, "axes.grid": False, "svg.fonttype": "path"}):
        assert report(tmp_path, gallery=fake_gallery([PIXEL, PIXEL]), title="A title") == html


def test_cells_are_shaded_by_closeness_to_the_right_goal(tmp_path: Path) -> None:
    names = ("target", "retrained", "npo")
    numbers = {"target": 1.0, "retrained": 0.2, "npo": 0.4}
    results: dict[str, Any] = {"states": {name: {} for name in names}}
    for name in names:
        for dataset in ("forget05", "retain95"):
            results["states"][name][dataset] = {"text": {"probability": {"value": numbers[name], "n": 9}}}
    html = report(tmp_path, results)
    assert "Forget set 5 %" in html and "goal: retrained" in html
    section = {
        name: html.split(f"<h3>{name}</h3>")[1].split("</section>")[0] for name in ("Forget set 5 %", "Retain set 95 %")
    }
    assert re.findall(r"--near:([\d.]+)", section["Forget set 5 %"]) == ["0", "1", "0.75"]
    assert re.findall(r"--near:([\d.]+)", section["Retain set 95 %"]) == ["1", "0", "0.25"]


def test_the_drawing_has_a_panel_for_each_modality_and_follows_the_page(html: str) -> None:
    drawing = html[html.index("<svg") : html.index("</svg>")]
    labels = Page(drawing + "</svg>").said("text")
    assert labels.count("Retrained (goal)") == labels.count("SimNPO") == 2
    assert {"Text", "Images"} <= {label.strip() for label in labels}
    assert "var(--ink)" in drawing and "var(--accent)" in drawing
    assert not re.search("#0[1-4]0[1-4]0[1-4]", drawing)
    assert "Nearest to the retrained model: NPO (text), NPO (images)." in html


def test_text_alone_makes_one_panel_and_no_empty_parts(tmp_path: Path) -> None:
    results = fake_results()
    for sets in results["states"].values():
        for dataset in list(sets):
            sets[dataset].pop("image", None)
            if "text" not in sets[dataset]:
                del sets[dataset]
    page = Page(report(tmp_path, results))
    assert "Asked about images" not in page.said("h2")
    assert page.said("text").count("Retrained (goal)") == 1
    assert "Text and images together" not in page.said("summary")


def test_together_holds_the_sets_with_both_modalities(html: str) -> None:
    together = html.split("<summary>Text and images together</summary>")[1].split("How these numbers")[0]
    assert re.findall("<h3>([^<]*)</h3>", together)[:3] == ["Forget set", "Retain set", "Holdout"]


def test_less_is_enough(tmp_path: Path) -> None:
    """One state, one metric: no goal, no drawing, no summary, no run."""
    states = {"mine": {"forget10": {"text": {"probability": {"value": 0.25, "n": 4}}}}}
    page = Page(report(tmp_path, {"states": states}))
    assert page.said("h2") == ["Asked in text"]
    assert "0.25" in page.said("span")
    assert "svg" not in {tag for tag, _, _ in page.attributes}


def test_images_are_kept_inside_and_large_ones_made_smaller(tmp_path: Path) -> None:
    image_module = pytest.importorskip("PIL.Image", reason="pillow comes with the [score] extra")
    small, large = image_module.new("RGB", (64, 64), "red"), image_module.new("RGBA", (2000, 1000), "blue")
    html = report(tmp_path, gallery=fake_gallery([small, large]))
    assert html.count('src="data:image/png;base64,') == 2
    assert large.size == (2000, 1000)
    assert len(html) < 300_000


def test_what_is_no_image_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="image of 'Ingrid Solheim' is no PNG, JPEG or GIF"):
        report(tmp_path, gallery=fake_gallery([b"<svg onload=...>", PIXEL]))
    with pytest.raises(ValueError, match="`group` must be 'forgotten' or 'kept', got 'lost'"):
        GalleryItem(subject="a", group="lost", question="", expected="", answers={})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("results", "message"),
    [
        ({}, "must have an object `states`, got None"),
        ({"states": {}}, "no states"),
        ({"states": []}, "must have an object `states`"),
        ({"states": {"npo": 3}}, "`states.npo` must be an object, got 3"),
        ({"states": {"npo": {"forget": {"text": {"rouge": 0.5}}}}}, "`states.npo.forget.text.rouge` must be an object"),
        (
            {"states": {"npo": {"forget": {"text": {"rouge": {"value": float("nan")}}}}}},
            "`states.npo.forget.text.rouge.value` must be a finite number, got nan",
        ),
        (
            {"states": {"npo": {"forget": {"text": {"rouge": {"value": 0.5, "low": 0.1}}}}}},
            "both ends of its interval or neither",
        ),
        ({"states": {"npo": {}}, "summary": {"npo": {"x": {"value": "1"}}}}, "`summary.npo.x.value` must be a finite"),
        ({"states": {"npo": {}}, "run": 3}, "must have an object `run`"),
    ],
)
def test_results_of_another_form_are_refused_and_nothing_is_left(
    results: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        write_report(results, tmp_path / "report.html")
    assert list(tmp_path.iterdir()) == []


def test_a_failed_write_leaves_the_old_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = report(tmp_path)

    def full(self: Path, text: str, encoding: str) -> int:
        self.write_bytes(text.encode()[:100])
        raise OSError(28, "No space left on device", str(self))

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(OSError, match="No space left"):
        write_report(fake_results(), tmp_path / "report.html", title="another")
    assert [each.name for each in tmp_path.iterdir()] == ["report.html"]
    assert (tmp_path / "report.html").read_text(encoding="utf-8") == before


def test_without_matplotlib_the_error_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError, match=re.escape("pip install 'unlearn-metrics[report]'")):
        report(tmp_path)


def run_command(*arguments: str) -> int:
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    return command.run(parser.parse_args(arguments))


def test_the_command_writes_beside_the_results(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = tmp_path / "results.json"
    source.write_text(json.dumps(fake_results()), encoding="utf-8")
    assert run_command(str(source), "--title", "Mine") == 0
    assert capsys.readouterr().out == f"{tmp_path / 'report.html'}\n"
    assert "<h1>Mine</h1>" in (tmp_path / "report.html").read_text(encoding="utf-8")
    assert run_command(str(source), "--out", str(tmp_path / "new" / "other.html")) == 0
    assert (tmp_path / "new" / "other.html").exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [('{"states": {', "truncated"), ("[1]", "must hold an object"), ("", "no JSON"), ('{"a": 1}', "found `a`")],
)
def test_the_command_refuses_a_broken_file(text: str, message: str, tmp_path: Path) -> None:
    source = tmp_path / "results.json"
    source.write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=message):
        run_command(str(source))
    assert not (tmp_path / "report.html").exists()


def test_the_command_takes_evidence(
    builder: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("npo", "retrained"):
        made = builder()
        for i in range(4):
            for of in ("forget10", "retain90"):
                made.row(f"{of}{i}", [-0.5 - 0.1 * i], [-1.0], [[-2.0]], of=of).says(f"{of}{i}", "Ann", "Ann", of=of)
        made.build().write(tmp_path / name)
    assert run_command("npo", "--retrained", "retrained") == 0
    assert capsys.readouterr().out == "report.html\n"
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "NPO" in page
    assert "Retrained" in page
    with pytest.raises(ValueError, match="nowhere is not there"):
        run_command("nowhere")
