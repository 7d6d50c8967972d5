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


def test_a_stage_shows_images_per_second_and_the_time_left(monkeypatch):
    now, lines = [0.0], []

    class Timed(display.Progress):
        def __init__(self, *columns, **options):
            super().__init__(*columns, get_time=lambda: now[0], **options)
            made.append(self)

    made: list[Timed] = []

    def sweep(plan, *, store, listener):
        del plan, store
        listener.at_hand(2)
        listener.stage("vit on digits")
        # The first step has compiled for a minute, which no rate counts.
        for seconds, images in ((60, 100), (65, 300), (160, 2100)):
            now[0] = seconds
            listener.progress(images, 4100)
            with display.console.capture() as shown:
                display.console.print(made[0].get_renderable())
            lines.append(shown.get().splitlines())
        return []

    monkeypatch.setattr(display, "Progress", Timed)
    monkeypatch.setattr(sweeps, "sweep", sweep)
    display.watch(SimpleNamespace(num_trials=0, num_evaluations=4), None)
    first, second, third = (line[1].split() for line in lines)
    assert "images/s" not in first
    assert second[-4:] == ["images/s", "0:01:05", "ETA", "0:01:35"]
    assert second[-5] == "40"
    # 2,000 images in 100 s, 2,000 to go.
    assert third[-5:] == ["20", "images/s", "0:02:40", "ETA", "0:01:40"]
    assert "images/s" not in lines[0][0]
    assert "2/4" in lines[0][0]


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
