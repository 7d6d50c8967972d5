"""Rules that hold over the whole tree."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = sorted(
    path
    for folder in ("jaxbench", "model_zoo", "scripts")
    for path in (ROOT / folder).rglob("*.py")
)
LONGEST_FILE = 400


def test_no_file_is_long():
    lengths = {path: path.read_text().count("\n") for path in SOURCES}
    assert not {path.name: n for path, n in lengths.items() if n > LONGEST_FILE}


def test_annotations_are_checked_not_postponed():
    """jaxtyping's checks need real annotations."""
    postponed = "from __future__ import annotations"
    assert not [path for path in SOURCES if postponed in path.read_text()]


@pytest.mark.parametrize(
    ("module", "banned"),
    [
        (
            "jaxbench.metrics",
            "flax optax orbax grain tensorflow_datasets PIL pyarrow duckdb altair "
            "vl_convert jinja2 typer rich pydantic model_zoo jaxbench.data "
            "jaxbench.engine",
        ),
        ("jaxbench.adapters.clu", "flax optax clu"),
        ("model_zoo", "jaxbench"),
        ("model_zoo.input_spec", "flax jax"),
        (
            "jaxbench.cli.app",
            "jax flax grain orbax altair vl_convert tensorflow_datasets",
        ),
    ],
)
def test_import_is_light(module, banned):
    code = f"import sys, {module}; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr
    loaded = set(done.stdout.split())
    assert not loaded & set(banned.split())


def test_links_between_documents_lead_somewhere():
    pages = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
    broken = [
        f"{page.name}: {target}"
        for page in pages
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text())
        if not (page.parent / target).exists()
    ]
    assert not broken


def test_direct_dependencies_are_pinned_for_the_tests():
    """The versions that the tests ran with stand in the project file."""
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    groups = project["project"]["optional-dependencies"]
    needed = [*project["project"]["dependencies"], *groups["zoo"], *groups["run"]]
    named = [*needed, *project["dependency-groups"]["dev"]]
    pinned = project["tool"]["uv"]["constraint-dependencies"]
    names = {re.split(r"[<>=\[]", text)[0] for text in named}
    assert names - {"jaxbench"} == {text.split("==")[0] for text in pinned}
    assert not [text for text in needed if "<" in text]
