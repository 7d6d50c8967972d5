"""What decides a number is part of its run's name, and nothing else is."""

import json

import pytest

from jaxbench.config import SubjectConfig, TrainConfig, parse_config
from jaxbench.errors import UserError
from jaxbench.sweeps import make_plan
from jaxbench.sweeps.files import file_digest
from jaxbench.sweeps.numbers import NUMBERS_VERSION
from jaxbench.sweeps.starts import find_start
from jaxbench.sweeps.subjects import find_weights
from tests.sweeps.experiment import experiment, trial_ids


def changed(config, change: dict):
    """The experiment with some values replaced, tables key by key."""
    table = config.model_dump(mode="json")
    for key, value in change.items():
        if isinstance(table[key], list):
            table[key] = [part | value for part in table[key]]
        else:
            table[key] = table[key] | value if isinstance(value, dict) else value
    return parse_config(table, origin="changed")


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 1},
        {"on_error": "skip"},
        {"evaluate": {"num_resamples": 51}},
        {"evaluate": {"metrics": ["accuracy"]}},
        {"evaluate": {"calibration": 24}},
        {"evaluate": {"clean": ["digits@validation"], "calibration": None}},
        {"train": {"epochs": 4}},
        {"train": {"batch_size": 31}},
        {"train": {"warmup_epochs": 2.0}},
        {"train": {"label_smoothing": 0.1}},
        {"train": {"augmentations": ["flip"]}},
        {"train": {"clip_norm": 1.0}},
        {"train": {"recipe": "deit"}},
        {"train": {"loss": "binary_cross_entropy"}},
        {"train": {"rand_augment": 9.0}},
        {"train": {"random_erasing": 0.5}},
        {"train": {"mixup": 0.2}},
        {"train": {"cutmix": 0.2}},
        {"train": {"ema_decay": 0.9}},
        {"train": {"images": "stream"}},
        {"train": {"validate_every": 2}},
        {"train": {"halving": {"first_epoch": 1}}},
        {"train": {"teacher": {"name": "mixer_micro", "weights": "random:1"}}},
        {"train": {"drop_rate": 0.1}},
        {"train": {"drop_path_rate": 0.1}},
        {"train": {"dtype": "bfloat16"}},
        {"train": {"image_size": 16}},
        {"train": {"seeds": [1]}},
        {"limit": 97},
    ],
    ids=str,
)
def test_whatever_decides_a_number_is_part_of_its_name(tmp_path, change):
    plain = experiment(tmp_path)
    before = set(make_plan(plain).run_ids())
    after = set(make_plan(changed(plain, change)).run_ids())
    trials = trial_ids(make_plan(plain))
    renamed = before - after
    # What only evaluation depends on leaves the trained networks as they are.
    expected = (
        before if {"train", "limit", "on_error"} & set(change) else before - trials
    )
    assert renamed == expected


@pytest.mark.parametrize(
    "change",
    [{"results": "elsewhere"}, {"name": "other"}, {"train": {"strategy": "vmap"}}],
    ids=str,
)
def test_what_decides_no_number_is_not(tmp_path, change):
    plain = experiment(tmp_path)
    twin = make_plan(changed(plain, change))
    assert set(twin.run_ids()) == set(make_plan(plain).run_ids())


def test_case_02_the_same_tensors_in_another_network_are_another_model(tmp_path):
    name, digests = "vit_tiny_patch16_224", []
    (tmp_path / "model.safetensors").touch()
    for fc_norm in (None, None, True):
        config = {"architecture": name, "model_args": {"fc_norm": fc_norm}}
        (tmp_path / "config.json").write_text(json.dumps(config))
        entry = SubjectConfig(name=name, weights=str(tmp_path))
        digests.append(find_weights(entry, name).subject(entry, name, 1000).digest)
    assert digests[0] == digests[1] != digests[2]
    train = TrainConfig.model_construct(weights=str(tmp_path), image_size=None)
    with pytest.raises(UserError, match="another network of it \\(last_norm='pooled'"):
        find_start(train, name, 10)


def test_case_24_every_part_of_the_weights_decides_their_digest(tmp_path):
    parts = [tmp_path / f"part-{i}.safetensors" for i in (0, 1)]
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {p.stem: p.name for p in parts}}))
    for i, part in enumerate(parts):
        part.write_bytes(bytes([i]))
    before = file_digest(index)
    parts[1].write_bytes(b"more")
    assert file_digest(index) != before


@pytest.mark.parametrize("kind", ["trial", "evaluation"])
def test_other_numbers_have_other_names(tmp_path, monkeypatch, kind):
    before = make_plan(experiment(tmp_path))
    raised = NUMBERS_VERSION[kind] + 1
    monkeypatch.setitem(NUMBERS_VERSION, kind, raised)
    after = make_plan(experiment(tmp_path))
    trials = [trial_ids(plan) for plan in (before, after)]
    evaluations = [
        set(plan.run_ids()) - ids
        for plan, ids in zip((before, after), trials, strict=True)
    ]
    assert not evaluations[0] & evaluations[1]
    # Of the evaluations alone, no trial is trained again.
    assert (trials[0] == trials[1]) == (kind == "evaluation")
