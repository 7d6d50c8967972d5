"""The notebook runs from top to bottom, as Jupyter would run it."""

import ast
import json
from pathlib import Path

import pytest

NOTEBOOK = json.loads((Path(__file__).parents[1] / "docs/notebook.ipynb").read_text())
CELLS = [
    "".join(cell["source"]) for cell in NOTEBOOK["cells"] if cell["cell_type"] == "code"
]


def run_cell(source: str, names: dict):
    """Runs a cell and returns the value of its last expression, if it ends in one."""
    tree = ast.parse(source)
    last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, "cell", "exec"), names)
    if last is not None:
        return eval(compile(ast.Expression(last.value), "cell", "eval"), names)
    return None


@pytest.fixture(scope="module")
def shown(tmp_path_factory):
    """The value that each cell shows, in order."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("notebook")
        patch.setattr("tempfile.mkdtemp", lambda: str(folder))
        names = {}
        return [run_cell(source, names) for source in CELLS]


def test_cells_show_what_the_text_says(shown):
    dataset, found, images, loaded, runs, chart = shown
    assert "289 images" in repr(dataset)
    assert "<td>accuracy</td>" in found._repr_html_()
    assert len(images) == 5
    assert loaded.metrics == found.metrics
    assert runs["seed"].tolist() == [0, 1, 2]
    assert runs["accuracy"].iloc[0] == found.metrics["accuracy"]
    assert "<svg" in _svg(chart)


def test_outputs_are_not_stored():
    assert not [cell for cell in NOTEBOOK["cells"] if cell.get("outputs")]


def _svg(chart) -> str:
    import vl_convert

    return vl_convert.vegalite_to_svg(chart.to_json())
