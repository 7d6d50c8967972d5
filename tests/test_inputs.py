"""The table of hard inputs names its tests, and every such test stands in it."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "inputs.md").read_text()
ROW = re.compile(r"^\| (\d+) \|(.*)\|$", re.MULTILINE)
NUM_CASES = 42


def _in_tree() -> dict[int, set[str]]:
    """The files that hold a test of each case."""
    found: dict[int, set[str]] = {number: set() for number in range(1, NUM_CASES + 1)}
    for path in (ROOT / "tests").rglob("test_*.py"):
        for number in re.findall(r"def test_case_(\d\d)_", path.read_text()):
            found[int(number)].add(path.relative_to(ROOT).as_posix())
    return found


def test_every_case_has_a_row_that_names_its_tests():
    listed = {
        int(number): set(re.findall(r"`(tests/[\w/]+\.py)`", text))
        for number, text in ROW.findall(PAGE)
    }
    assert listed == _in_tree()
    assert all(listed.values())
