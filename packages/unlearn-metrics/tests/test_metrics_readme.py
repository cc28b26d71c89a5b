"""The README's examples run as they stand, in a folder of their own."""

import re
from pathlib import Path

import pytest
from unlearn_metrics import cli

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")


@pytest.fixture
def ran(tmp_path, monkeypatch):
    """What the examples leave behind."""
    monkeypatch.chdir(tmp_path)
    names = {}
    for example in re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL):
        exec(compile(example, "README.md", "exec"), names)
    return names


def test_the_examples_run(ran):
    number = ran["results"]["sets"]["forget"]["text"]["keyword_accuracy"]
    assert number == {"value": 1.0, "low": 1.0, "high": 1.0, "n": 8}
    assert ran["results"]["summary"]["forget_quality"]["value"] < 0.05


@pytest.mark.parametrize(
    "line", re.findall(r"^    unlearn-metrics (compute evidence.*|compare .*)$", README, re.MULTILINE)
)
def test_the_commands_run(ran, line, capsys):
    assert cli.main(line.split()) == 0
    assert "forget" in capsys.readouterr().out
