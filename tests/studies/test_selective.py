"""Regimes, twins, correlations and changes, against SciPy and published counts."""

import csv
from importlib.resources import files

import jax
import numpy as np
import pytest
from scipy.stats import binomtest, spearmanr

from jaxbench.errors import UserError
from jaxbench.studies import (
    Twins,
    distillation_twins,
    group_medians,
    median_change,
    metric_correlations,
    model_family,
    read_regimes,
    regime_changes,
    regime_rules,
    training_regime,
)
from jaxbench.studies.published.selective import load_published_classifiers
from jaxbench.studies.regimes import checkpoint_of, named_as_checkpoints
from jaxbench.studies.selective import sign_test

REGIMES = {
    "resnet50.a1_in1k": "plain",
    "resnet50": "plain",
    "deit_small_distilled_patch16_224.fb_in1k": "distilled",
    "deit_small_patch16_224.fb_in1k": "plain",
    "xcit_nano_12_p8_224.fb_dist_in1k": "distilled",
    "hgnet_tiny.ssld_in1k": "distilled",
    "tiny_vit_21m_224.dist_in22k_ft_in1k": "distilled",
    "tf_efficientnet_b0.ap_in1k": "adversarial",
    "inception_v3.tf_adv_in1k": "adversarial",
    "vit_base_patch16_224.sam_in1k": "SAM",
    "tf_efficientnet_l2.ns_jft_in1k_475": "noisy student",
    "resnext50_32x4d.fb_swsl_ig1b_ft_in1k": "weakly or semi-supervised",
    "resnet50.fb_ssl_yfcc100m_ft_in1k": "weakly or semi-supervised",
    "regnety_160.swag_ft_in1k": "weakly or semi-supervised",
    "vit_base_patch16_clip_224.laion2b_ft_in12k_in1k": "CLIP fine-tuned",
    "vit_base_patch16_clip_224.openai_ft_in1k": "CLIP fine-tuned",
    "vit_base_patch16_clip_224.openai": "CLIP",
    "beit_base_patch16_224.in22k_ft_in22k_in1k": "self-supervised",
    "convnextv2_tiny.fcmae_ft_in22k_in1k": "self-supervised",
    "hiera_base_224.mae_in1k_ft_in1k": "self-supervised",
    "vit_large_patch16_384.augreg_in21k_ft_in1k": "pretrained",
    "convnext_tiny.in12k_ft_in1k": "pretrained",
    "resnet18_torchvision": "plain",
    # An older name of weights that timm does not hold.
    "vit_large_patch16_384_original": "pretrained",
    "hardcorenas_a.miil_green_in1k": "unknown",
    "resnet50.my_own": "unknown",
    "my_network": "unknown",
}


def test_regimes_of_well_known_models():
    found = {name: training_regime(name) for name in REGIMES}
    assert found == REGIMES


def test_own_regimes_come_first():
    assert training_regime("my_network", {"my_network": "curated"}) == "curated"
    assert training_regime("resnet50.a1_in1k", {"my_network": "x"}) == "plain"


NAME = "resnet50.a1_in1k"


@pytest.mark.parametrize(
    ("change", "checkpoint"),
    [
        ({}, NAME),
        ({"weights": "pretrained"}, NAME),
        ({"weights": f"zoo/{NAME}.npz"}, NAME),
        ({"weights": f"zoo/{NAME}/model.safetensors"}, NAME),
        ({"weights": f"hub/models--timm--{NAME}/snapshots/0/model.safetensors"}, NAME),
        ({"model": "resnet50"}, NAME),
        ({"num_classes": 0, "protocol": "knn"}, NAME),
        # The shapes of another head, another network, another name.
        ({"num_classes": 10}, None),
        ({"network_changes": "pool='average'"}, None),
        ({"model": "resnet50.a2_in1k"}, None),
        ({"model": "resnet18"}, None),
        ({"weights": "mine.safetensors"}, None),
        ({"weights": "zoo/resnet50.mine.safetensors"}, None),
        ({"weights": "random:0"}, None),
        ({"weights": None}, None),
        ({"trial_id": "0"}, None),
    ],
)
def test_case_38_files_named_as_checkpoints_are_taken_for_them(change, checkpoint):
    row = {"model": NAME, "weights": f"zoo/{NAME}.safetensors", "num_classes": 1000}
    assert checkpoint_of(row | change) == checkpoint


def test_case_38_what_was_taken_for_checkpoints_is_said():
    row = {"model": NAME, "weights": f"zoo/{NAME}.safetensors", "num_classes": 1000}
    other = row | {"model": "my_network", "weights": "mine.safetensors"}
    assert named_as_checkpoints([other, row | {"weights": "pretrained"}]) == []
    (note,) = named_as_checkpoints([other, row, row])
    assert note.startswith("1 model was read from files named as published")
    assert note.endswith(f"{NAME}.")


def test_every_rule_is_a_known_regime_and_says_why():
    known = set(REGIMES.values())
    for rule in regime_rules():
        assert rule.regime in known
        assert rule.meaning


def test_regimes_of_the_523():
    table = files("model_zoo.registry").joinpath("coverage.csv").read_text("utf-8")
    rows = list(csv.DictReader(table.splitlines()))
    studied = [r["checkpoint"] for r in rows if r["in_selective_study"] != "no"]
    found = [training_regime(name) for name in studied]
    assert len(studied) == 523
    assert found.count("unknown") == 16
    assert found.count("distilled") == 54
    assert found.count("plain") == 355


def test_families_are_the_zoos():
    assert model_family("xcit_nano_12_p8_224.fb_dist_in1k") == "xcit"
    assert model_family("alexnet_torchvision") == "alexnet"
    assert model_family("my_network") == "unknown"


def test_regimes_from_a_file(tmp_path):
    path = tmp_path / "regimes.csv"
    path.write_text("model,regime,by\na,distilled,me\nb, plain ,me\n", "utf-8")
    assert read_regimes(path) == {"a": "distilled", "b": "plain"}
    path.write_text("model,regime\na,plain\na,SAM\n,plain\nc,\n", "utf-8")
    with pytest.raises(UserError) as problem:
        read_regimes(path)
    for part in ("a is both plain and SAM", "line 4 has no model", "line 5 has no reg"):
        assert part in str(problem.value)
    path.write_text("name,regime\na,plain\n", "utf-8")
    with pytest.raises(UserError, match="it lacks model"):
        read_regimes(path)
    with pytest.raises(UserError, match="cannot read"):
        read_regimes(tmp_path / "absent.csv")


def test_twins_by_their_names():
    names = ("pit_b_distilled_224.in1k", "pit_b_224.in1k", "levit_128.fb_dist_in1k")
    assert distillation_twins(names) == (Twins(names[0], names[1]),)
    # A distinguished word is a whole one.
    assert distillation_twins(("distance_net.a", "_net.a")) == ()


def test_published_correlation_and_twins():
    """papers: 0.026 without CLIP, 0.082 with; 21 of 25 twins better in AUROC."""
    rows = load_published_classifiers()
    assert len(rows) == 536
    plain = {row.released: row for row in rows if not row.is_clip}
    assert len(plain) == 520
    for chosen, value in ((plain, 0.026), ({r.released: r for r in rows}, 0.082)):
        models = {
            n: {"accuracy": r.accuracy, "auroc": r.auroc} for n, r in chosen.items()
        }
        found = metric_correlations(
            models, [("accuracy", "auroc")], key=jax.random.key(0)
        )
        assert found[0].num_models == len(chosen)
        # Printed to three digits.
        assert found[0].value == pytest.approx(value, abs=5e-4)
        scipy = spearmanr(
            *zip(*((r.accuracy, r.auroc) for r in chosen.values()), strict=True)
        )
        # float32 sums of ranks.
        assert found[0].value == pytest.approx(scipy.statistic, abs=1e-5)
        assert found[0].low < value < found[0].high
    pairs = distillation_twins(plain)
    assert len(pairs) == 25
    change = median_change(
        [plain[pair.plain].auroc for pair in pairs],
        [plain[pair.distilled].auroc for pair in pairs],
        higher_is_better=True,
    )
    assert (change.num_better, change.num_worse) == (21, 4)
    assert change.low > 0


def test_correlations_within_groups():
    rng = np.random.default_rng(0)
    models, groups = {}, {}
    for group, sign in (("up", 1), ("down", -1), ("small", 1)):
        for number in range(3 if group == "small" else 12):
            x = rng.normal()
            models[f"{group}{number}"] = {"x": x, "y": sign * x + 0.1 * rng.normal()}
            groups[f"{group}{number}"] = group
    models["lost"] = {"x": 1.0, "y": float("nan")}
    found = metric_correlations(
        models, [("x", "y")], groups, key=jax.random.key(1), num_resamples=40
    )
    by_group = {row.group: row for row in found}
    # Three models are too few.
    assert list(by_group) == ["all", "down", "up"]
    assert by_group["all"].num_models == 27
    assert by_group["up"].value > 0.9
    assert by_group["down"].value < -0.9
    for row in found:
        names = [
            n for n in models if row.group in ("all", groups.get(n)) and n != "lost"
        ]
        pairs = [(models[n]["x"], models[n]["y"]) for n in names]
        # float32 sums of ranks.
        expected = spearmanr(*zip(*pairs, strict=True)).statistic
        assert row.value == pytest.approx(expected, abs=1e-5)
        assert row.low <= row.value <= row.high


def test_median_change_against_scipy():
    rng = np.random.default_rng(3)
    before = rng.normal(0, 1, 25)
    after = before + rng.normal(0.3, 1, 25)
    after[4] = before[4]
    found = median_change(before, after, higher_is_better=True)
    gaps = np.sort(after - before)
    assert found.median == np.median(gaps)
    better, worse = int((gaps > 0).sum()), int((gaps < 0).sum())
    assert (found.num_better, found.num_worse) == (better, worse)
    test = binomtest(better, better + worse, 0.5)
    assert found.p_value == pytest.approx(test.pvalue, rel=1e-12)
    wilson = test.proportion_ci(method="wilson")
    # float32 in the metric.
    assert found.share_low == pytest.approx(wilson.low, abs=1e-6)
    assert found.share_high == pytest.approx(wilson.high, abs=1e-6)
    # Table of the sign test: with n = 25, the 8th smallest and largest at 95 %.
    assert (found.low, found.high) == (gaps[7], gaps[17])
    flipped = median_change(before, after, higher_is_better=False)
    assert (flipped.num_better, flipped.num_worse) == (worse, better)


def test_median_interval_covers():
    """Coverage over draws is at least the level; its exact value at n = 10 is 0.979."""
    rng = np.random.default_rng(4)
    hits = 0
    for _ in range(300):
        found = median_change(np.zeros(10), rng.normal(0, 1, 10), higher_is_better=True)
        hits += found.low <= 0 <= found.high
    # Three standard errors of the share: 0.025.
    assert hits / 300 == pytest.approx(0.979, abs=0.025)


def test_changes_of_few_pairs():
    found = median_change([0.0] * 3, [1.0, 2.0, 3.0], higher_is_better=True)
    assert (found.median, found.low, found.high) == (2.0, -np.inf, np.inf)
    nothing = median_change([float("nan")], [1.0], higher_is_better=True)
    assert nothing.num_pairs == 0
    assert np.isnan(nothing.median)
    equal = median_change([1.0, 1.0], [1.0, 1.0], higher_is_better=True)
    assert (equal.num_better, equal.num_worse, equal.p_value) == (0, 0, 1.0)
    with pytest.raises(ValueError, match="before has 1"):
        median_change([1.0], [1.0, 2.0], higher_is_better=True)
    assert sign_test(0, 5) == pytest.approx(2 / 32)
    assert sign_test(0, 0) == 1.0


def test_regimes_at_equal_architecture():
    models = {
        "a.plain": {"auroc": 0.80},
        "a.other": {"auroc": 0.82},
        "a.dist": {"auroc": 0.86},
        "b.plain": {"auroc": 0.90},
        "b.dist": {"auroc": 0.89},
        "c.dist": {"auroc": 0.99},
        "d.sam": {"auroc": 0.99},
    }
    regimes = {n: "plain" for n in models} | {
        n: n.split(".")[1] for n in models if n.endswith(("dist", "sam"))
    }
    architectures = {name: name[0] for name in models}
    found = regime_changes(models, architectures, regimes, {"auroc": True})
    # "sam" and the distilled c have no plain counterpart.
    assert list(found) == ["dist"]
    change = found["dist"]["auroc"]
    assert (change.num_pairs, change.num_better, change.num_worse) == (2, 1, 1)
    assert change.median == pytest.approx((0.05 - 0.01) / 2)


def test_medians_of_groups():
    models = {"a": {"x": 1.0}, "b": {"x": 3.0, "y": 2.0}, "c": {"x": 9.0}}
    found = group_medians(models, {"a": "g", "b": "g", "c": "h"}, ("x", "y"))
    assert list(found) == ["g", "h"]
    assert found["g"] == (2, {"x": 2.0, "y": 2.0})
    assert np.isnan(found["h"][1]["y"])
