"""The heads that a `[probe]` table puts on backbones, and checks of its datasets."""

import dataclasses
from collections.abc import Iterable, Iterator
from functools import partial
from typing import Any

from jaxbench.config import ProbeConfig, SubjectConfig
from jaxbench.data import Source
from jaxbench.data.overlap import common_images
from jaxbench.data.scoring import scoring_of
from jaxbench.errors import UserError
from jaxbench.results import run_digest
from jaxbench.sweeps.jobs.protocol import Plan
from jaxbench.sweeps.numbers import NUMBERS_VERSION
from jaxbench.sweeps.subjects import Subject, find_weights, subject_names

# The keys of a table that decide a protocol's numbers.
_SHARED = ("validation_share", "seed")
_KEYS = {
    "linear_probe": (
        *_SHARED,
        *("learning_rates", "weight_decays", "epochs", "batch_size", "warmup_epochs"),
        *("optimizer", "momentum", "feature_norm"),
    ),
    "logistic_regression": (*_SHARED, "penalties", "feature_norm"),
    "knn": ("votes", "vote_temperature", "prior_votes"),
}


@dataclasses.dataclass(frozen=True)
class Head:
    """One way to classify the features of a backbone.

    Attributes:
        subject: The backbone.
        train: Address of the training images.
        protocol: Name of the protocol.
        neighbors: Of the protocol "knn".
        digest: Names the backbone and everything that decides the head.
    """

    # Named by the digest, as everything is.
    subject: Subject = dataclasses.field(compare=False)
    train: str
    protocol: str
    neighbors: int | None
    digest: str

    @property
    def title(self) -> str:
        """A name for the screen."""
        if self.neighbors:
            return f"k-NN {self.neighbors}"
        return self.protocol.replace("_", " ")

    def settings(self) -> dict[str, Any]:
        """What identifies it in a row."""
        return {
            **self.subject.settings(),
            "protocol": self.protocol,
            "probe_id": self.digest,
            "probe_train": self.train,
            "num_neighbors": self.neighbors,
        }


def make_heads(plan: Plan, probe: ProbeConfig, subject: Subject) -> Iterator[Head]:
    """Every head of a table on one backbone."""
    train, validation = probe_sources(plan, probe)
    head = partial(Head, subject, probe.train)
    for protocol in dict.fromkeys(probe.protocols):
        keys = {key: getattr(probe, key) for key in _KEYS[protocol]}
        payload = {
            "version": NUMBERS_VERSION["probe"],
            "kind": "probe",
            "protocol": protocol,
            "model": subject.digest,
            "train": train.fingerprint,
            "on_error": plan.config.on_error,
            **{k: list(v) if isinstance(v, tuple) else v for k, v in keys.items()},
        }
        if protocol == "knn":
            for count in sorted(set(probe.neighbors)):
                yield head(protocol, count, run_digest(payload | {"neighbors": count}))
            continue
        if validation is not None:
            del payload["validation_share"]
            payload["validation"] = validation.fingerprint
        yield head(protocol, None, run_digest(payload))


def probe_sources(plan: Plan, probe: ProbeConfig) -> tuple[Source, Source | None]:
    """The training images, and those that choose a member where the table has some."""
    train, chosen_by = plan.datasets.open(probe.train), probe.validation
    return train, None if chosen_by is None else plan.datasets.open(chosen_by)


def make_backbones(entries: Iterable[SubjectConfig]) -> Iterator[Subject]:
    """The models of a table without their heads.

    Raises:
        UserError: If an entry says something about a head, or weights are missing.
    """
    for entry in entries:
        if entry.zero_shot is not None:
            raise UserError(
                f"[[probe]] {entry.name}: zero_shot makes a head of texts, and a probe "
                "looks at no head; leave it out, or evaluate the model as it is"
            )
        if entry.classes is not None or entry.class_order is not None:
            raise UserError(
                f"[[probe]] {entry.name}: classes and class_order are about a head's "
                "outputs, and a probe looks at no head; leave them out"
            )
        for name in subject_names(entry):
            found = find_weights(entry, name, num_classes=0)
            yield found.subject(entry, name, 0, "backbone")


def check_table(plan: Plan, probe: ProbeConfig) -> None:
    """Checks that datasets and values of a table fit each other.

    Raises:
        UserError: If they do not, or something would be measured on images that it was
            fitted to; all problems are named.
    """
    train, validation = probe_sources(plan, probe)
    problems = [*_overlaps(plan, probe, train, validation)]
    for source in (train, validation):
        if source is not None and scoring_of(source) is not None:
            problems.append(
                f"{source.name} is scored in its own way; a probe is fitted on images "
                "with one label each"
            )
    most = max(probe.neighbors)
    if "knn" in probe.protocols and most > len(train):
        problems.append(f"neighbors asks for {most}, {probe.train} has {len(train)}")
    if "linear_probe" in probe.protocols and probe.warmup_epochs >= probe.epochs:
        problems.append(
            f"warmup_epochs is {probe.warmup_epochs:g} of {probe.epochs} epochs; "
            "wanted fewer"
        )
    share = round(probe.validation_share * len(train))
    if validation is None and not 0 < share < len(train):
        problems.append(
            f"validation_share {probe.validation_share:g} of {len(train)} images is "
            f"{share}; give a validation set or another share"
        )
    if problems:
        raise UserError("\n".join(f"probe: {problem}" for problem in problems))


def _overlaps(
    plan: Plan, probe: ProbeConfig, train: Source, validation: Source | None
) -> Iterator[str]:
    """Images that would be measured on, or chosen by, after they were fitted to."""
    used: dict[Any, Source] = {probe.train: train}
    if validation is not None:
        if count := common_images(validation, train):
            yield (
                f"validation {probe.validation} has {count} images of {probe.train}; "
                "leave validation out to set a part of them aside"
            )
        used[probe.validation] = validation
    for target in plan.targets:
        for address, source in used.items():
            if count := common_images(target.source, source):
                yield (
                    f"{target.address} is evaluated and the probe has seen {count} of "
                    f"its images as {address}; choose others"
                )
    calibration = plan.datasets.calibration()
    if calibration is not None and (count := common_images(calibration, train)):
        yield (
            f"probes are fitted on {count} images of the calibration set; a "
            "temperature needs images that they have not seen"
        )
