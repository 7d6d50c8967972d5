"""Batch curation: what leaving batches out does to a backbone, and what it saves.

Runs that differ in curation alone are compared seed by seed: they begin with the same
weights and see the same images and the same first views, so what they have in common
cancels. arXiv 2403.19579 reports single numbers; intervals and savings are ours.
"""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from jaxbench.errors import UserError
from jaxbench.studies.naming import setting_texts, setting_words
from jaxbench.training import OPTIMIZERS

Row = Mapping[str, Any]

# What makes an arm of a comparison; everything else must be equal.
ARM_SETTINGS = (
    "curation",
    "curation_max_distance",
    "curation_quantile",
    "curation_window",
    "curation_warmup",
    "curation_on_reject",
    "curation_max_redraws",
    "curation_measured",
    "budget",
)
SHARED_SETTINGS = (
    *("objective", "model", "dataset", "image_size", "dtype", "optimizer"),
    *("learning_rate", "weight_decay", "epochs", "train_batch_size", "warmup_epochs"),
    *("clip_norm", "contrastive_temperature", "projection_hidden", "projection_width"),
    *("huber_weight", "huber_delta", "normalized_projections", "probe_dataset"),
    *("probe_feature_norm", "probe_validation", "probe_epochs", "probe_batch_size"),
    *("probe_learning_rates", "probe_weight_decays", "tested_on", "image_limit"),
    *(f"view_{name}" for name in ("crop_scale", "crop_ratio", "flip", "jitter")),
    *("view_jitter_probability", "view_grayscale", "view_blur"),
    *sorted({name for row in OPTIMIZERS.values() for name in row.options}),
)
# What `_rule` says of an arm; of the rest, what differs is added.
_IN_RULE = (
    *("curation", "curation_max_distance", "curation_quantile", "curation_on_reject"),
    *("curation_measured", "budget"),
)
_WORDS = {
    "model": "",
    "train_batch_size": "batch",
    "huber_weight": "Huber",
    "curation_window": "window",
    "curation_warmup": "warm-up",
    "curation_max_redraws": "redraws",
}
# What a curated run may need less of, and where it stands in a row.
COSTS = (
    *("train_seconds", "train_cpu_seconds", "peak_memory_bytes", "images_seen"),
    *("views_seen", "updates", "backward_passes"),
)
# The outcome that is compared.
OUTCOME = "probe_accuracy"


class MeanInterval(NamedTuple):
    """A mean over seeds with Student's interval; its ends are None for one seed."""

    mean: float
    low: float | None
    high: float | None
    n: int


@dataclass(frozen=True)
class Arm:
    """Runs of one setting under one curation.

    Attributes:
        setting: Values of `SHARED_SETTINGS`.
        name: Describes the curation: its rule, and every other setting of curation in
            which the arms of the folder differ.
        title: The same, after the settings of training in which the arms differ. No
            two arms share it.
        curated: Whether draws may be rejected.
        measured: Whether distances were measured.
        budget: "draws" or "updates".
        rows: Seed to run.
    """

    setting: tuple
    name: str
    title: str
    curated: bool
    measured: bool
    budget: str
    rows: Mapping[int, Row]

    def values(self, name: str) -> list[float]:
        """A column of all seeds, missing ones left out."""
        found = (self.rows[seed].get(name) for seed in sorted(self.rows))
        return [float(value) for value in found if value is not None]


@dataclass(frozen=True)
class ArmComparison:
    """A curated arm beside the plain one of its setting.

    Attributes:
        arm: The curated one.
        plain: The one without curation.
        seeds: That both have, in order.
        difference: Outcome of the curated arm minus that of the plain one, paired by
            seed; a fraction.
        saved: Name of a cost to the share of it that the curated arm spared, paired by
            seed: negative where it cost more.
    """

    arm: Arm
    plain: Arm
    seeds: tuple[int, ...]
    difference: MeanInterval
    saved: Mapping[str, MeanInterval]


def find_arms(rows: Sequence[Row]) -> tuple[Arm, ...]:
    """The arms among the rows of a store: settings by appearance, plain ones first.

    Of two runs with the same settings and seed the later one counts.

    Args:
        rows: Finished runs; those without an `objective` are left out.
    """
    groups: dict[tuple, dict[int, Row]] = defaultdict(dict)
    for row in sorted(rows, key=lambda row: row.get("created_at") or ""):
        if row.get("objective") is None or row.get("seed") is None:
            continue
        setting = tuple(row.get(name) for name in SHARED_SETTINGS)
        arm = tuple(row.get(name) for name in ARM_SETTINGS)
        groups[setting, arm][row["seed"]] = row
    order: dict[tuple, int] = {}
    for setting, _ in groups:
        order.setdefault(setting, len(order))
    firsts = [next(iter(found.values())) for found in groups.values()]
    rules = _rules(firsts)
    titles = setting_words(firsts, SHARED_SETTINGS, words=_WORDS)
    arms = [
        _arm(setting, found, rule, " ".join(title))
        for ((setting, _), found), rule, title in zip(
            groups.items(), rules, titles, strict=True
        )
    ]
    return tuple(
        sorted(
            arms,
            key=lambda a: (order[a.setting], a.curated, a.measured, a.budget, a.name),
        )
    )


def _arm(setting: tuple, rows: Mapping[int, Row], name: str, where: str) -> Arm:
    first = next(iter(rows.values()))
    curated = first["curation"] != "none"
    measured = curated or bool(first.get("curation_measured"))
    return Arm(
        setting=setting,
        name=name,
        title=f"{where}: {name}" if where else name,
        curated=curated,
        measured=measured,
        budget=first.get("budget") or "draws",
        rows=dict(rows),
    )


def _rules(rows: Sequence[Row]) -> list[str]:
    """A description of each row's curation, different for different curations."""
    others = [name for name in ARM_SETTINGS if name not in _IN_RULE]
    thresholds = {
        name: setting_texts({row.get(name) for row in rows})
        for name in ("curation_max_distance", "curation_quantile")
    }
    more: dict[int, tuple[str, ...]] = {}
    # Only runs of one kind of rule have the same settings, such as a window: what the
    # other kinds lack is not a difference.
    for kind in dict.fromkeys(map(_kind, rows)):
        places = [i for i, row in enumerate(rows) if _kind(row) == kind]
        words = setting_words([rows[i] for i in places], others, words=_WORDS)
        more |= dict(zip(places, words, strict=True))
    found = []
    for place, row in enumerate(rows):
        if row["curation"] == "none":
            measured = row.get("curation_measured")
            found.append("plain, measured" if measured else "plain")
            continue
        value = row["curation"] == "value"
        name = "curation_max_distance" if value else "curation_quantile"
        rule = f"{'distance <=' if value else 'quantile'} {thresholds[name][row[name]]}"
        budget = ["equal updates"] if row.get("budget") == "updates" else []
        parts = (rule, str(row["curation_on_reject"]), *more[place], *budget)
        found.append(", ".join(parts))
    return found


def _kind(row: Row) -> tuple:
    return row["curation"], row.get("curation_on_reject")


def compare_arms(
    arms: Sequence[Arm], *, level: float = 0.95
) -> tuple[ArmComparison, ...]:
    """Every curated arm beside the plain one of its setting.

    Where there are two plain ones, the one that did not measure distances is taken: the
    numbers are the same, and its time is that of plain training. An arm with a budget
    of updates has as many updates as plain training and more draws; one with a budget
    of draws as many draws and fewer updates.

    Args:
        arms: As `find_arms` gives them.
        level: Coverage of the intervals.
    """
    found = []
    for arm in arms:
        plain = next(
            (a for a in arms if a.setting == arm.setting and not a.curated), None
        )
        if not arm.curated or plain is None:
            continue
        seeds = tuple(sorted(set(arm.rows) & set(plain.rows)))
        if not seeds:
            continue
        pairs = [(arm.rows[seed], plain.rows[seed]) for seed in seeds]
        gaps = [a[OUTCOME] - b[OUTCOME] for a, b in pairs]
        saved = {
            name: mean_interval([1 - a[name] / b[name] for a, b in pairs], level=level)
            for name in COSTS
            if all(a.get(name) is not None and b.get(name) for a, b in pairs)
        }
        difference = mean_interval(gaps, level=level)
        found.append(ArmComparison(arm, plain, seeds, difference, saved))
    return tuple(found)


def mean_interval(values: Sequence[float], *, level: float = 0.95) -> MeanInterval:
    """Mean of independent values and Student's interval around it.

    mean +- t s / sqrt(n), with s the deviation over n - 1 and t the quantile of
    Student's distribution with n - 1 degrees of freedom. Exact for normal values.

    Args:
        values: One for each seed; NaN makes all of it NaN.
        level: Coverage, in (0, 1).

    Raises:
        UserError: If `values` is empty, or the level is out of range.
    """
    if not values or not 0 < level < 1:
        raise UserError(
            f"{len(values)} values and level {level}; wanted at least one value and a "
            "level between 0 and 1"
        )
    n = len(values)
    mean = math.fsum(values) / n
    if n == 1:
        return MeanInterval(mean, None, None, 1)
    variance = math.fsum((value - mean) ** 2 for value in values) / (n - 1)
    half = student_quantile(0.5 + level / 2, n - 1) * math.sqrt(variance / n)
    return MeanInterval(mean, mean - half, mean + half, n)


def student_quantile(share: float, degrees: int) -> float:
    """Quantile of Student's distribution, by bisection of its closed form.

    With tan(a) = t / sqrt(degrees) the distribution is a finite sum of powers of
    cos(a): Abramowitz and Stegun (1964), 26.7.3 and 26.7.4.

    Args:
        share: In (0, 1).
        degrees: 1 or more.
    """
    low, high = -math.pi / 2, math.pi / 2
    # 100 halvings of an interval of length pi: down to float64's own steps.
    for _ in range(100):
        angle = (low + high) / 2
        below = _student_share(angle, degrees) < share
        low, high = (angle, high) if below else (low, angle)
    return math.tan((low + high) / 2) * math.sqrt(degrees)


def _student_share(angle: float, degrees: int) -> float:
    """Share of Student's distribution below sqrt(degrees) tan(angle)."""
    sine, cosine = math.sin(angle), math.cos(angle)
    odd = degrees % 2
    term, total = (cosine if odd else 1.0), 0.0
    for power in range(1 + odd, degrees, 2):
        total += term
        term *= cosine**2 * power / (power + 1)
    if odd:
        return 0.5 + (angle + sine * total) / math.pi
    return 0.5 + sine * total / 2
