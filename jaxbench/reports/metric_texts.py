"""How each metric is shown: heading, meaning in a line, unit and direction."""

from dataclasses import dataclass, replace
from types import MappingProxyType


@dataclass(frozen=True)
class MetricText:
    """How a metric is shown.

    Attributes:
        heading: Its name, short.
        meaning: What it is, in a line.
        percent: Whether it is a fraction that is shown in percent.
        direction: Which way is better; "" for neither.
        scale: What numbers are multiplied by where they are shown, other than percent:
            the literature gives the area under the risk-coverage curve times 1,000.
    """

    heading: str
    meaning: str
    percent: bool = True
    direction: str = "↑"
    scale: int = 1

    @property
    def unit(self) -> str:
        """What follows the heading: " %", " x1000" or nothing."""
        if self.percent:
            return " %"
        return f" \u00d7{self.scale}" if self.scale != 1 else ""


def _lower(heading: str, meaning: str, *, percent: bool = True) -> MetricText:
    return MetricText(heading, meaning, percent, "↓")


def _area(heading: str, meaning: str) -> MetricText:
    return MetricText(heading, meaning, percent=False, direction="↓", scale=1000)


def _neither(heading: str, meaning: str) -> MetricText:
    return MetricText(heading, meaning, direction="")


_ACCURACY = {
    "accuracy": MetricText(
        "Accuracy", "share of images whose most probable class is the label"
    ),
    "top_5_accuracy": MetricText(
        "Top-5", "share of images whose label is among the five most probable classes"
    ),
    "balanced_accuracy": MetricText(
        "Balanced", "accuracy of each class, averaged over the classes that occur"
    ),
    "nll": _lower(
        "NLL", "mean negative log-probability of the label, in nats", percent=False
    ),
    "brier": _lower(
        "Brier",
        "mean squared distance of the probabilities to the label, from 0 to 2",
        percent=False,
    ),
    "mean_confidence": _neither(
        "Confidence",
        "mean probability of the predicted class; above accuracy means overconfident",
    ),
    "overconfidence": _neither(
        "Overconfidence",
        "mean confidence less accuracy; below 0 the model is underconfident",
    ),
}

_CALIBRATION = {
    "ece": _lower(
        "ECE",
        "expected calibration error: mean gap between confidence and accuracy over 15 "
        "equal bins",
    ),
    "mce": _lower("MCE", "largest gap of any of the 15 bins"),
    "ece_equal_mass": _lower(
        "ECE, equal mass", "the same as ECE over 15 bins of equally many images"
    ),
    "mce_equal_mass": _lower(
        "MCE, equal mass", "largest gap of 15 bins of equally many images"
    ),
    "ece_debiased": _lower(
        "ECE, debiased",
        "ECE less what sampling noise adds to it; about 0 if calibrated",
    ),
    "rms_calibration_error": _lower(
        "RMS error", "root of the mean squared gap over 15 equal bins"
    ),
    "ks_calibration_error": _lower(
        "KS error",
        "largest gap between the running sums of confidence and of right answers",
    ),
    "smooth_ece": _lower(
        "Smooth ECE", "mean gap after Gaussian smoothing, which needs no bins"
    ),
    "brier_reliability": _lower(
        "Reliability", "mean squared gap over 15 equal bins", percent=False
    ),
    "brier_resolution": MetricText(
        "Resolution", "variance of the accuracy over 15 equal bins", percent=False
    ),
    "brier_uncertainty": MetricText(
        "Uncertainty", "accuracy times error rate", percent=False, direction=""
    ),
}

_SELECTIVE = {
    "auroc": MetricText(
        "AUROC", "chance that a right answer has more confidence than a wrong one"
    ),
    "aurc": _area(
        "AURC",
        "error rate averaged over all coverages, answering the most confident first",
    ),
    "excess_aurc": _area("E-AURC", "AURC less that of the best possible order"),
    "augrc": _area(
        "AUGRC",
        "share of all images answered wrongly, averaged over all coverages",
    ),
    "excess_augrc": _area("E-AUGRC", "AUGRC less that of the best possible order"),
    "coverage_at_95_accuracy": MetricText(
        "Cov@95", "share that can be answered if 95% of the answers must be right"
    ),
    "coverage_at_99_accuracy": MetricText(
        "Cov@99", "share that can be answered if 99% of the answers must be right"
    ),
    "risk_at_80_coverage": _lower(
        "Risk@80", "error rate on the 80% of images with the most confidence"
    ),
}


def _out_of_distribution() -> dict[str, MetricText]:
    scores = {
        "max_softmax": ("softmax", "largest probability"),
        "max_logit": ("logit", "largest logit"),
        "energy": ("energy", "logsumexp of the logits"),
    }
    measures = {
        "auroc": ("AUROC", "chance that an in-distribution image scores higher", "↑"),
        "aupr_in": ("AUPR in", "average precision of finding in-distribution", "↑"),
        "aupr_out": (
            "AUPR out",
            "average precision of finding out-of-distribution",
            "↑",
        ),
        "fpr95": (
            "FPR95",
            "share of out-of-distribution accepted at 95% of in-distribution",
            "↓",
        ),
    }
    return {
        f"ood_{measure}_{score}": MetricText(
            f"OOD {heading}, {short}", f"{meaning}, by {words}", True, direction
        )
        for measure, (heading, meaning, direction) in measures.items()
        for score, (short, words) in scores.items()
    }


# What the first table shows, and what the tables beside it do.
HEADLINES = (
    *("accuracy", "top_5_accuracy", "nll", "brier", "ece", "mean_confidence"),
    *("auroc", "aurc", "coverage_at_95_accuracy", "coverage_at_99_accuracy"),
)
CALIBRATION = ("overconfidence", *_CALIBRATION)
SELECTIVE = tuple(_SELECTIVE)

METRIC_TEXTS = MappingProxyType(
    {**_ACCURACY, **_CALIBRATION, **_SELECTIVE, **_out_of_distribution()}
)


def metric_text(name: str) -> MetricText:
    """How to show a metric; one that is not in the table is shown as a plain number."""
    base = name.removesuffix("_ts")
    known = METRIC_TEXTS.get(base)
    if known is None:
        return MetricText(name, "", percent=False, direction="")
    if base == name:
        return known
    meaning = f"{known.heading} after temperature scaling"
    return replace(known, heading=f"{known.heading} (T*)", meaning=meaning)
