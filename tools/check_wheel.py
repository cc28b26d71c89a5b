"""Checks an installed wheel: `python -I tools/check_wheel.py DISTRIBUTION`, with nothing else of the repository about.

What an editable install hides shows here: a file that the wheel lacks, an import that no requirement covers.
"""

import importlib
import importlib.util
import re
import subprocess
import sys
import sysconfig
import tempfile
from importlib import metadata
from pathlib import Path

IMPORT_SECONDS = 0.3
ASSET_BYTES = 10_000_000


def main(name: str) -> int:
    """Checks the distribution `name`; returns 0, or 1 with a line for each fault."""
    faults = [*check_files(name), *check_import(name), *check_commands(name)]
    if name == "unlearn-metrics":
        faults += [*check_no_torch(), *check_import_time("unlearn_metrics"), *check_examples(name)]
    if name == "clear-data":
        faults += check_assets()
    for fault in faults:
        print(f"{name}: {fault}", file=sys.stderr)
    print(f"{name} {metadata.version(name)}: {'wrong' if faults else 'right'}")
    return 1 if faults else 0


def check_files(name: str) -> list[str]:
    """The license, the types marker and the code are there, and the tests are not."""
    files = [path.as_posix() for path in metadata.files(name) or []]
    module = name.replace("-", "_")
    wanted = [f"{module}/__init__.py", f"{module}/py.typed", "licenses/LICENSE"]
    faults = [f"no file ends with {end}" for end in wanted if not any(path.endswith(end) for path in files)]
    return faults + [f"{path} does not belong in a wheel" for path in files if path.startswith(("tests/", "src/"))]


def check_import(name: str) -> list[str]:
    """The package imports, from the wheel, and everything in `__all__` is there."""
    module = importlib.import_module(name.replace("-", "_"))
    names = ["__all__", *getattr(module, "__all__", [])]
    faults = [f"`__init__` has no `{item}`" for item in names if not hasattr(module, item)]
    if not Path(module.__file__ or "").is_relative_to(sysconfig.get_path("purelib")):
        faults.append(f"imported from {module.__file__}, which is not the wheel")
    return faults


def check_examples(name: str) -> list[str]:
    """The README's examples in Python run, one after the other, in a folder of their own."""
    examples = re.findall(r"```python\n(.*?)```", str(metadata.metadata(name).json["description"]), flags=re.DOTALL)
    if not examples:
        return ["the README has no example"]
    with tempfile.TemporaryDirectory() as folder:
        run = subprocess.run(
            [sys.executable, "-I", "-c", "\n".join(examples)], cwd=folder, capture_output=True, text=True
        )
    return [f"the README's examples end with: {run.stderr.strip().splitlines()[-1]}"] if run.returncode else []


def check_commands(name: str) -> list[str]:
    """Each command answers `--help`."""
    commands = [point.name for point in metadata.distribution(name).entry_points if point.group == "console_scripts"]
    faults = []
    for command in commands:
        run = subprocess.run([Path(sysconfig.get_path("scripts")) / command, "--help"], capture_output=True, text=True)
        if run.returncode or not run.stdout.startswith("usage:"):
            faults.append(f"`{command} --help` ended with {run.returncode}: {run.stderr.strip()}")
    return faults


def check_no_torch() -> list[str]:
    """Torch is not installed."""
    return ["torch is installed"] if importlib.util.find_spec("torch") else []


def check_import_time(module: str, *, attempts: int = 5) -> list[str]:
    """The import, in a new interpreter, takes less than `IMPORT_SECONDS`, at its best."""
    code = f"from time import perf_counter as now; start = now(); import {module}; print(now() - start)"
    best = min(float(subprocess.check_output([sys.executable, "-I", "-c", code])) for _ in range(attempts))
    print(f"import {module}: {best:.3f} s")
    return [f"the import takes {best:.2f} s, at most {IMPORT_SECONDS} s is allowed"] if best > IMPORT_SECONDS else []


def check_assets() -> list[str]:
    """The portraits and the pipeline that draws from them are in the wheel, within their size."""
    files = [path for path in metadata.files("clear-data") or [] if "assets" in path.parts]
    size = sum(path.size or 0 for path in files)
    print(f"clear-data carries {len(files)} assets, {size / 1e6:.1f} MB")
    if not files:
        return ["the wheel carries no assets"]
    return [f"the assets weigh {size} bytes, at most {ASSET_BYTES} are allowed"] if size > ASSET_BYTES else []


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
