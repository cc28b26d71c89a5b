import re
from pathlib import Path

import pytest
from unlearn_train import cli
from unlearn_train.models import load_model

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")


def test_the_example_runs(folder, saved, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("data").symlink_to(folder)
    Path("target").symlink_to(saved["llava"])
    (example,) = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    exec(compile(example.replace("epochs=5", "epochs=0.2"), "README.md", "exec"), {})
    load_model(tmp_path / "unlearned")


@pytest.mark.parametrize("line", re.findall(r"^    unlearn (.*?)(?:  #.*)?$", README, flags=re.MULTILINE))
def test_every_command_is_understood(line):
    args = cli.build_parser().parse_args(line.split())
    if line.startswith("run"):
        from unlearn_train.commands.run import resolve

        resolve(args)
