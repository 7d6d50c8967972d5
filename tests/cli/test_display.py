"""The progress display, and numbers with their nouns."""

from types import SimpleNamespace

import pytest

import jaxbench.cli.display as display
import jaxbench.sweeps as sweeps
from jaxbench.errors import counted, unknown_name


def test_the_bar_of_a_stage_forgets_the_total_of_the_one_before(monkeypatch):
    made, seen = [], []

    class Kept(display.Progress):
        def __init__(self, *columns, **options):
            super().__init__(*columns, **options)
            made.append(self)

    def look():
        (bar,) = made[0].tasks[1:]
        seen.append((bar.description, bar.completed, bar.total))

    def sweep(plan, *, store, listener):
        del plan, store
        listener.stage("first")
        listener.progress(6, 6)
        look()
        listener.stage("second")
        look()
        listener.progress(1, 5)
        look()
        return []

    monkeypatch.setattr(display, "Progress", Kept)
    monkeypatch.setattr(sweeps, "sweep", sweep)
    display.watch(SimpleNamespace(num_trials=0, num_evaluations=2), None)
    assert seen == [("first", 6, 6), ("second", 0, None), ("second", 1, 5)]


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ((1, "run"), "1 run"),
        ((0, "run"), "0 runs"),
        ((2048, "run"), "2,048 runs"),
        ((1, "class", "classes"), "1 class"),
        ((3, "class", "classes"), "3 classes"),
    ],
)
def test_numbers_have_the_right_plural(arguments, text):
    assert counted(*arguments) == text


def test_a_beginning_is_what_was_meant():
    known = ("accuracy", "aurc", "auroc", "augrc")
    assert unknown_name("metric", "acc", known).endswith("did you mean 'accuracy'?")
    assert "did you mean 'aurc'" in unknown_name("metric", "aucr", known)
