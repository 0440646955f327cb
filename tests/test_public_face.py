"""What the package shows the world, and what importing it must not do."""

import ast
import json
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest

import herdwise

SOURCE = Path(herdwise.__file__).parent
HEAVY = ("torch", "sklearn", "scipy", "pyarrow", "numpy", "aiohttp", "sqlalchemy", "starlette", "uvicorn")
SEAMS = ("backends", "benchmarks", "graders", "encoders", "predictors", "policies")


def in_fresh_python(code):
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    return json.loads(done.stdout)


def test_every_public_name_exists():
    for name in herdwise.__all__:
        assert getattr(herdwise, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = herdwise.nonsense


def test_importing_the_package_loads_nothing_heavy():
    loaded = in_fresh_python("import sys, json, herdwise; print(json.dumps(sorted(sys.modules)))")
    assert not [name for name in HEAVY if name in loaded]


def test_importing_the_command_line_loads_nothing_heavy():
    code = "import sys, json, herdwise.cli as c; c._register(); print(json.dumps(sorted(sys.modules)))"
    assert not [name for name in HEAVY if name in in_fresh_python(code)]


@pytest.mark.parametrize("seam", SEAMS)
def test_every_built_in_comes_through_its_entry_point(seam):
    points = entry_points(group=f"herdwise.{seam}")
    assert points
    for point in points:
        assert point.load().name == point.name


def test_no_file_is_a_drawer_of_odds_and_ends():
    banned = {"utils", "common", "helpers", "misc", "v2"}
    assert not [p for p in SOURCE.rglob("*.py") if p.stem in banned]


def test_nothing_is_ever_unpickled():
    unsafe = {"pickle", "joblib", "cloudpickle", "dill", "shelve"}
    for path in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            assert not unsafe & {n.split(".")[0] for n in names}, path


def test_only_config_reads_the_environment():
    for path in SOURCE.rglob("*.py"):
        if "config" in path.relative_to(SOURCE).parts[0]:
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "os":
                assert node.attr not in {"environ", "getenv", "putenv"}, path
