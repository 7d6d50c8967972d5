"""The datasets of an experiment: who is set apart, who is scored how."""

import numpy as np
import pytest

from jaxbench.config import parse_config
from jaxbench.data import ArraySource
from jaxbench.data.scoring import Scoring
from jaxbench.errors import UserError
from jaxbench.sweeps import datasets as module
from jaxbench.sweeps.datasets import Datasets
from model_zoo import InputSpec

SPEC = InputSpec(size=(8, 8), crop_fraction=1.0)
LABELS = np.arange(40, dtype=np.int32) % 4


class Published(ArraySource):
    """Arrays with names and perhaps a scoring, as a published dataset has them."""

    def __init__(self, name, rows, *, named=True, labels=LABELS, scoring=None):
        ids = [f"img_{i:03d}.png" if named else f"{i:06d}" for i in rows]
        images = np.zeros((len(rows), 8, 8, 3), np.uint8) + np.array(rows)[
            :, None, None, None
        ].astype(np.uint8)
        super().__init__(name, images, labels[rows], class_names="abcd", ids=ids)
        self.scoring = scoring


@pytest.fixture
def opened(monkeypatch):
    """Datasets of an experiment over sources made here."""

    def make(calibration=None, **sources):
        monkeypatch.setattr(module, "open_dataset", lambda a, **_: sources[a])
        monkeypatch.setattr(module, "expand_addresses", tuple)
        table = {
            "name": "x",
            "results": "x",
            "evaluate": {
                "clean": list(sources),
                "models": [{"name": "resnet_micro", "weights": "random:0"}],
                "calibration": calibration,
            },
        }
        return Datasets(parse_config(table, origin="test"))

    return make


def test_a_part_of_the_same_images_is_left_out_too(opened):
    whole, part = Published("whole", range(40)), Published("part", range(5, 38))
    found = opened(10, whole=whole, part=part)
    apart = set(found.calibration().ids)
    assert len(apart) == 10
    assert not apart & set(found.evaluated("whole").ids)
    assert set(found.evaluated("part").ids) == set(part.ids) - apart


def test_positions_are_not_names(opened):
    first = Published("first", range(40), named=False)
    same = Published("same", range(40), named=False)
    other = Published("other", range(40), named=False, labels=LABELS[::-1].copy())
    found = opened(10, first=first, same=same, other=other)
    assert len(found.evaluated("same")) == 30
    assert len(found.evaluated("other")) == 40


def test_nothing_left(opened):
    few = [0, 1, 2, 3]
    found = opened(36, whole=Published("whole", range(40)), few=Published("few", few))
    left = set(few) - {int(i[4:7]) for i in found.calibration().ids}
    if left:
        assert len(found.evaluated("few")) == len(left)
    else:
        with pytest.raises(UserError, match="all 4 images are set apart"):
            found.evaluated("few")


def test_two_scorings_of_the_same_images_stay_apart(opened):
    sets = np.stack([LABELS, (LABELS + 1) % 4], axis=1)
    plain = Published("plain", range(40))
    several = Published("several", range(40), scoring=Scoring(4, label_sets=sets))
    found = opened(10, plain=plain, several=several)
    first, second = found.evaluated("plain"), found.evaluated("several")
    assert first.ids == second.ids
    assert first.fingerprint != second.fingerprint
    assert found.images(first, SPEC).scoring is None
    kept = found.images(second, SPEC).scoring
    rows = [int(i[4:7]) for i in second.ids]
    np.testing.assert_array_equal(kept.label_sets, sets[rows])
