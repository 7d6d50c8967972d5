"""Our numbers beside those of other libraries, on the same inputs.

`peers/references.json` and `peers/sets.npz` come from scripts/peers/make_references.py,
run in an environment of the peers' own. Every number in them is compared: it equals
ours to float32 rounding, or it stands below with the reason and the size of the
difference.
"""

import json
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from jaxbench import metrics as m

PEERS = Path(__file__).parent / "peers"
REFERENCES = json.loads((PEERS / "references.json").read_text())
CLASSES = 10
FLOAT32 = 2e-6  # a few roundings of a sum over 512 rows, ours and theirs


class Rows(NamedTuple):
    confidence: np.ndarray
    correct: np.ndarray
    logits: np.ndarray | None = None
    labels: np.ndarray | None = None
    predictions: np.ndarray | None = None

    @property
    def columns(self):
        return self.confidence, self.correct


def load_sets():
    with np.load(PEERS / "sets.npz") as stored:
        arrays = {name: stored[name] for name in stored.files}
    wide = {"logits": np.float32, "labels": np.int32, "predictions": np.int32}
    sets: dict[str, dict] = {}
    for name, column in arrays.items():
        group, field = name.split("/")
        sets.setdefault(group, {})[field] = column.astype(wide.get(field, column.dtype))
    for columns in sets.values():
        if "labels" in columns:
            columns["correct"] = columns["labels"] == columns["predictions"]
    return {name: Rows(**columns) for name, columns in sets.items()}


SETS = load_sets()


def top_k(k):
    def measure(rows):
        ranks = m.score_examples(rows.logits, rows.labels).label_rank
        return m.top_k_accuracy(ranks, k=k)

    return measure


OURS = {
    "top_1_accuracy": top_k(1),
    "top_2_accuracy": top_k(2),
    "top_5_accuracy": top_k(5),
    "per_class_accuracy": lambda r: m.per_class_accuracy(
        r.labels, r.correct, num_classes=CLASSES
    ),
    "balanced_accuracy": lambda r: m.balanced_accuracy(
        r.labels, r.correct, num_classes=CLASSES
    ),
    "confusion_matrix": lambda r: m.confusion_matrix(
        r.labels, r.predictions, num_classes=CLASSES
    ),
    "nll": lambda r: m.negative_log_likelihood(r.logits, r.labels),
    "brier": lambda r: m.brier_score(r.logits, r.labels),
    "ece": lambda r: m.expected_calibration_error(*r.columns),
    "ece_equal_mass": lambda r: m.expected_calibration_error(
        *r.columns, binning="equal_mass"
    ),
    "mce": lambda r: m.maximum_calibration_error(*r.columns),
    "rms_ce": lambda r: m.root_mean_square_calibration_error(*r.columns),
    "smooth_ece": lambda r: m.smooth_calibration_error(*r.columns),
    "smooth_ece_at_0.05": lambda r: m.smooth_calibration_error(
        *r.columns, bandwidth=0.05
    ),
    "smooth_ece_at_0.1": lambda r: m.smooth_calibration_error(
        *r.columns, bandwidth=0.1
    ),
    "classwise_ece": lambda r: m.classwise_calibration_error(r.logits, r.labels),
    "auroc": lambda r: m.area_under_roc(*r.columns),
    "average_precision_correct": lambda r: m.average_precision(*r.columns),
    "average_precision_error": lambda r: m.average_precision(-r.confidence, ~r.correct),
    "fpr_at_95_tpr": lambda r: m.fpr_at_tpr(*r.columns),
    "aurc": lambda r: m.area_under_risk_coverage(*r.columns),
    "aurc_trapezoid": lambda r: m.area_under_risk_coverage(
        *r.columns, scale="trapezoid"
    ),
    "excess_aurc": lambda r: m.excess_area_under_risk_coverage(*r.columns),
    "augrc": lambda r: m.area_under_generalized_risk_coverage(*r.columns),
    "excess_augrc": lambda r: m.excess_area_under_generalized_risk_coverage(*r.columns),
    "coverage_at_95_accuracy": lambda r: m.coverage_at_accuracy(
        *r.columns, accuracy=0.95
    ),
    "risk_at_80_coverage": lambda r: m.risk_at_coverage(*r.columns, coverage=0.8),
}
# fd-shifts reports risks in thousandths; torch-uncertainty's AURC is a trapezoid.
PER_MILLE = {"aurc", "aurc_of_cache", "excess_aurc", "augrc", "excess_augrc"}
COUNTERPARTS = {
    ("torch-uncertainty", "aurc"): "aurc_trapezoid",
    ("fd-shifts", "aurc_of_cache"): "aurc",
}

LOWER_EDGE = "bins [b/B, (b+1)/B): a confidence on an edge falls into the bin above"
PHANTOM = "the same, and a confidence of 1.0 into a sixteenth bin of its own"
SORTED_TIES = "ties are left in the order of an unstable sort"
ENDPOINTS = "confidences at 0 and 1 weigh half: the reflection leaves the end point out"
LAST_INDEX = "among equal logits the last class wins"
SPLIT_TIES = "places are counted row by row, so a tied block is split"
NO_POSITIVE = "0 without a positive, and AUROC without a pair to order"
NO_NEGATIVE = "1 without a negative, whatever the confidences"

# (peer, metric): why it differs, and by how much on which set. Elsewhere it agrees.
DEVIATIONS = {
    ("scikit-learn", "top_1_accuracy"): (LAST_INDEX, {"tied": 0.107}),
    ("scikit-learn", "top_2_accuracy"): (LAST_INDEX, {"tied": 0.0254}),
    ("scikit-learn", "top_5_accuracy"): (LAST_INDEX, {"tied": 0.00391}),
    ("scikit-learn", "nll"): (
        "probabilities are clipped to the type's epsilon, -log p to 36.04",
        {"overconfident": 6.44},
    ),
    ("scikit-learn", "average_precision_error"): (NO_POSITIVE, {"all_right": np.nan}),
    ("scikit-learn", "average_precision_correct"): (NO_NEGATIVE, {"all_right": np.nan}),
    ("torchmetrics", "top_2_accuracy"): (
        "equal logits in the order that torch.topk happens to have",
        {"tied": 0.00781},
    ),
    ("torchmetrics", "top_5_accuracy"): (
        "equal logits in the order that torch.topk happens to have",
        {"tied": 0.00781},
    ),
    ("torchmetrics", "ece"): (PHANTOM, {"tied": 0.000117, "edges": 0.00156}),
    ("torchmetrics", "mce"): (PHANTOM, {"edges": 0.00803}),
    ("torchmetrics", "rms_ce"): (
        PHANTOM,
        {"tied": 6.65e-05, "edges": 0.00239, "overconfident": 0.00162},
    ),
    ("torchmetrics", "auroc"): (NO_POSITIVE, {"all_right": np.nan}),
    ("torchmetrics", "average_precision_error"): (NO_POSITIVE, {"all_right": np.nan}),
    ("torchmetrics", "average_precision_correct"): (NO_NEGATIVE, {"all_right": np.nan}),
    ("torch-uncertainty", "ece"): (PHANTOM, {"tied": 0.000117, "edges": 0.00156}),
    ("torch-uncertainty", "mce"): (PHANTOM, {"edges": 0.00803}),
    ("torch-uncertainty", "rms_ce"): (
        PHANTOM,
        {"tied": 6.65e-05, "edges": 0.00239, "overconfident": 0.00162},
    ),
    ("torch-uncertainty", "classwise_ece"): (PHANTOM, {"overconfident": 3.62e-05}),
    ("torch-uncertainty", "ece_equal_mass"): (
        "the first N mod B bins hold one more; tied blocks are split by the sort",
        {"random": 0.000121, "tied": 0.00357, "edges": 0.0141},
    ),
    ("torch-uncertainty", "smooth_ece"): (
        ENDPOINTS,
        {
            "random": 6.97e-06,
            "edges": 0.000922,
            "overconfident": 0.0127,
            "all_right": 5.78e-05,
        },
    ),
    ("torch-uncertainty", "nll"): (
        "log of a float32 probability, which underflows to 0",
        {"overconfident": np.inf},
    ),
    ("torch-uncertainty", "aurc"): (
        SORTED_TIES,
        {"tied": 0.000447, "overconfident": 0.00662},
    ),
    ("torch-uncertainty", "augrc"): (
        "from coverage 1/N instead of 0, over 1 - 1/N; ties as the sort leaves them",
        {
            "random": 0.000227,
            "tied": 0.000193,
            "edges": 0.000214,
            "overconfident": 0.00141,
        },
    ),
    ("torch-uncertainty", "coverage_at_95_accuracy"): (
        SPLIT_TIES,
        {"tied": 0.00195, "edges": 0.0117, "overconfident": 0.0137},
    ),
    ("torch-uncertainty", "risk_at_80_coverage"): (
        SORTED_TIES,
        {"tied": 0.000813, "edges": 0.00105},
    ),
    ("fd-shifts", "ece"): (
        f"{LOWER_EDGE}; with all right, correctness is binarised to 0",
        {"tied": 0.000117, "edges": 0.00156, "all_right": 0.0514},
    ),
    ("fd-shifts", "mce"): (
        f"{LOWER_EDGE}; with all right, correctness is binarised to 0",
        {"tied": 0.0107, "edges": 0.00803, "all_right": 0.155},
    ),
    ("fd-shifts", "aurc"): (
        "trapezoid over block ends, constant from the first one down to coverage 0",
        {
            "random": 0.000326,
            "tied": 0.000565,
            "edges": 0.000489,
            "overconfident": 7.59e-05,
        },
    ),
    ("fd-shifts", "aurc_of_cache"): (
        "the same, but with the point one row into each tied block",
        {
            "random": 0.000326,
            "tied": 0.000222,
            "edges": 0.000465,
            "overconfident": 0.000156,
        },
    ),
    ("fd-shifts", "excess_aurc"): (
        "trapezoid over block ends, less the closed form for N to infinity",
        {"tied": 8.33e-05, "edges": 9.98e-05, "overconfident": 9.75e-05},
    ),
    ("fd-shifts", "fpr_at_95_tpr"): (
        "keeps 94.95 % of the positives",
        {"tied": 0.0237},
    ),
    ("fd-shifts", "average_precision_error"): (NO_POSITIVE, {"all_right": np.nan}),
    ("fd-shifts", "average_precision_correct"): (NO_NEGATIVE, {"all_right": np.nan}),
    ("relplot", "smooth_ece"): (
        f"{ENDPOINTS}; a mesh, and a bandwidth to 1/1024",
        {
            "random": 6.98e-06,
            "edges": 0.000922,
            "overconfident": 0.0127,
            "all_right": 5.79e-05,
        },
    ),
    ("relplot", "smooth_ece_at_0.05"): (
        ENDPOINTS,
        {
            "random": 6.02e-05,
            "edges": 0.00107,
            "overconfident": 0.0121,
            "all_right": 0.000397,
        },
    ),
    ("relplot", "smooth_ece_at_0.1"): (
        ENDPOINTS,
        {
            "random": 2.62e-05,
            "tied": 1.54e-05,
            "edges": 0.00087,
            "overconfident": 0.0125,
            "all_right": 0.000441,
        },
    ),
    ("netcal", "ece"): (LOWER_EDGE, {"tied": 0.000117, "edges": 0.00156}),
    ("netcal", "mce"): (LOWER_EDGE, {"tied": 0.0107, "edges": 0.00803}),
}

STORED = [
    (name, peer, metric)
    for name, peers in REFERENCES["classified"].items()
    for peer, values in peers.items()
    for metric in values
]


@pytest.fixture(scope="module")
def ours():
    found = {}

    def measure(name, metric):
        if (name, metric) not in found:
            found[name, metric] = np.asarray(OURS[metric](SETS[name]), np.float64)
        return found[name, metric]

    return measure


@pytest.mark.parametrize(("name", "peer", "metric"), STORED)
def test_agrees_or_differs_as_recorded(name, peer, metric, ours):
    theirs = np.asarray(REFERENCES["classified"][name][peer][metric], np.float64)
    if peer == "fd-shifts" and metric in PER_MILLE:
        theirs = theirs / 1000
    mine = ours(name, COUNTERPARTS.get((peer, metric), metric))
    _, sizes = DEVIATIONS.get((peer, metric), ("", {}))
    if name in sizes:
        # Two of the three recorded digits, and no less than what rounding can do.
        size = pytest.approx(sizes[name], rel=0.01, abs=FLOAT32, nan_ok=True)
        assert np.abs(theirs - mine).max() == size
    else:
        np.testing.assert_allclose(mine, theirs.reshape(mine.shape), atol=FLOAT32)


def test_every_recorded_difference_is_of_a_stored_number():
    recorded = {
        (name, *key) for key, (_, sizes) in DEVIATIONS.items() for name in sizes
    }
    assert recorded <= set(STORED)


def test_without_pairs_ours_is_nan_and_theirs_a_number(ours):
    theirs = REFERENCES["classified"]["all_right"]
    assert theirs["torchmetrics"]["auroc"] == 0.0
    assert np.isnan(ours("all_right", "auroc"))
    for outcome, value in (("error", 0.0), ("correct", 1.0)):
        metric = f"average_precision_{outcome}"
        assert theirs["scikit-learn"][metric] == value
        assert np.isnan(ours("all_right", metric))


def test_a_perfect_model_is_miscalibrated_by_its_doubt(ours):
    # fd-shifts gives 1 less that: its binarised correctness is 0 for every row.
    doubt = 1 - SETS["all_right"].confidence.mean(dtype=np.float64)
    theirs = REFERENCES["classified"]["all_right"]["fd-shifts"]["ece"]
    assert ours("all_right", "ece") == pytest.approx(doubt, abs=FLOAT32)
    assert theirs == pytest.approx(1 - doubt, abs=FLOAT32)


RANKED = REFERENCES["ranked"]


def padded(rows):
    """The columns at one length, which compiles once, and the mask."""
    missing = 2630 - len(rows.correct)
    confidence = np.pad(rows.confidence, (0, missing), constant_values=np.nan)
    mask = np.arange(2630) < len(rows.correct)
    return confidence, np.pad(rows.correct, (0, missing)), mask


@pytest.mark.parametrize("name", RANKED)
def test_galil_is_bit_for_bit(name):
    """The published code's own float64 results, its rows in stable order."""
    rows, theirs = SETS[name], RANKED[name]
    mine = {
        "auroc": m.area_under_roc(*rows.columns, compat="galil"),
        "aurc": m.area_under_risk_coverage(*rows.columns, compat="galil"),
    } | {
        f"coverage_at_{percent}_accuracy": m.coverage_at_accuracy(
            *rows.columns, accuracy=percent / 100, compat="galil"
        )
        for percent in (95, 99)
    }
    for metric, value in mine.items():
        assert np.float64(value).tobytes() == np.float64(theirs[metric]).tobytes() or (
            np.isnan(value) and np.isnan(theirs[metric])
        ), metric


@pytest.mark.parametrize("name", RANKED)
def test_galil_calibration(name):
    rows, theirs = SETS[name], RANKED[name]
    ece = m.expected_calibration_error(*rows.columns, compat="galil")
    mce = m.maximum_calibration_error(*rows.columns, compat="galil")
    # torch adds the rows of a bin in an order that depends on the processor.
    assert [ece, mce] == pytest.approx([theirs["ece"], theirs["mce"]], abs=1e-14)
    float32 = [theirs["ece_float32"], theirs["mce_float32"]]
    assert [ece, mce] == pytest.approx(float32, abs=1e-6)


@pytest.mark.parametrize("name", RANKED)
def test_galil_without_ties_is_the_definition(name):
    rows, theirs = SETS[name], RANKED[name]
    if len(np.unique(rows.confidence)) < len(rows.confidence):
        # Their own sort moves the number; ours is the mean over the ties' orders.
        assert theirs["aurc_as_published"] != theirs["aurc"]
        return
    *columns, mask = padded(rows)
    aurc = m.area_under_risk_coverage(*columns, mask=mask)
    assert float(aurc) == pytest.approx(theirs["aurc"], abs=FLOAT32)
    auroc = m.area_under_roc(*columns, mask=mask)
    assert float(auroc) == pytest.approx(theirs["auroc"], abs=FLOAT32, nan_ok=True)


@pytest.mark.parametrize("name", ["random_512", "random_2630", "long_tail_2630"])
def test_galil_excess_is_higher_by_the_closed_form(name):
    """Their oracle is that of infinitely many examples: lower by about r / 2N."""
    rows = SETS[name]
    *columns, mask = padded(rows)
    mine = float(m.excess_area_under_risk_coverage(*columns, mask=mask))
    risk, count = 1 - rows.correct.mean(), len(rows.correct)
    gap = RANKED[name]["excess_aurc"] - mine
    assert gap == pytest.approx(risk / (2 * count), rel=0.02, abs=1e-6)
