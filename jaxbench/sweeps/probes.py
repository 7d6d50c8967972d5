"""The probes of a plan: which backbones, which heads, and what names them."""

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from jaxbench.config import ExperimentConfig, ProbeConfig, SubjectConfig
from jaxbench.data import Source
from jaxbench.data.overlap import common_images
from jaxbench.data.scoring import scoring_of
from jaxbench.errors import UserError
from jaxbench.results import run_digest
from jaxbench.sweeps.datasets import Datasets
from jaxbench.sweeps.expansion import expand_subject
from jaxbench.sweeps.numbers import NUMBERS_VERSION
from jaxbench.sweeps.own import check_own, is_own
from jaxbench.sweeps.subjects import Subject, find_weights

# The keys of a table that decide a protocol's numbers.
_SHARED = ("validation_share", "seed")
_KEYS = {
    "linear_probe": (
        *_SHARED,
        "learning_rates",
        "weight_decays",
        "epochs",
        "batch_size",
        "warmup_epochs",
        "optimizer",
        "momentum",
        "feature_norm",
    ),
    "logistic_regression": (*_SHARED, "penalties", "feature_norm"),
    "knn": ("votes", "vote_temperature", "prior_votes"),
}


@dataclasses.dataclass(frozen=True)
class ProbeHead:
    """One way of classifying a backbone's features: an owner of evaluations.

    Attributes:
        protocol: Name of the protocol.
        neighbors: Of the protocol "knn".
        probe_id: Digest of the backbone and of everything that decides the head.
    """

    protocol: str
    neighbors: int | None
    probe_id: str

    @property
    def title(self) -> str:
        """How it is called on the screen."""
        return f"k-NN {self.neighbors}" if self.neighbors else _words(self.protocol)


@dataclasses.dataclass(frozen=True)
class ProbeJob:
    """A backbone with all the heads of a table: one piece of work."""

    probe: ProbeConfig
    subject: Subject
    heads: tuple[ProbeHead, ...]

    @property
    def digest(self) -> str:
        """Names the piece of work."""
        return run_digest({"probes": [head.probe_id for head in self.heads]})


def _words(protocol: str) -> str:
    return protocol.replace("_", " ")


def expand_probes(
    config: ExperimentConfig, datasets: Datasets, targets: Sequence[Any]
) -> tuple[ProbeJob, ...]:
    """Every backbone of every table, each once with the heads that are new.

    Args:
        config: The experiment.
        datasets: Opens the addresses.
        targets: What is measured on, to tell what must not be trained on.

    Raises:
        UserError: If a model or its weights do not exist, or datasets do not fit each
            other; all of one table's problems are told at once.
    """
    jobs, seen = [], set()
    for probe in config.probe:
        train, validation = _sources(probe, datasets)
        _check_table(config, probe, train, validation, datasets, targets)
        for subject in _subjects(probe.models):
            heads = tuple(
                head
                for head in _heads(probe, subject, train, validation, config)
                if head.probe_id not in seen
            )
            seen |= {head.probe_id for head in heads}
            if heads:
                jobs.append(ProbeJob(probe, subject, heads))
    return tuple(jobs)


def probe_addresses(config: ExperimentConfig) -> Iterator[str]:
    """Addresses whose classes must be those of everything else."""
    for probe in config.probe:
        yield probe.train
        if probe.validation is not None:
            yield probe.validation


def _sources(probe: ProbeConfig, datasets: Datasets) -> tuple[Source, Source | None]:
    chosen_by = None if probe.validation is None else datasets.open(probe.validation)
    return datasets.open(probe.train), chosen_by


def _check_table(
    config: ExperimentConfig,
    probe: ProbeConfig,
    train: Source,
    validation: Source | None,
    datasets: Datasets,
    targets: Sequence[Any],
) -> None:
    """Refuses what would be measured on the images it was fitted on."""
    problems = list(_seen(probe, train, validation, datasets.calibration(), targets))
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
        listed = "\n".join(f"probe: {problem}" for problem in problems)
        raise UserError(listed)


def _seen(
    probe: ProbeConfig,
    train: Source,
    validation: Source | None,
    calibration: Source | None,
    targets: Sequence[Any],
) -> Iterator[str]:
    """Which images would be measured on, or chosen by, after they were fitted on."""
    used = {probe.train: train}
    if validation is not None and probe.validation is not None:
        if count := common_images(validation, train):
            yield (
                f"validation {probe.validation} has {count} images of {probe.train}; "
                "leave validation out to set a part of them aside"
            )
        used[probe.validation] = validation
    for target in targets:
        for address, source in used.items():
            if count := common_images(target.source, source):
                yield (
                    f"{target.address} is evaluated and the probe has seen {count} of "
                    f"its images as {address}; choose others"
                )
    if calibration is not None and (count := common_images(calibration, train)):
        yield (
            f"probes are fitted on {count} images of the calibration set; a "
            "temperature needs images that they have not seen"
        )


def _subjects(entries: Iterable[SubjectConfig]) -> Iterator[Subject]:
    """Backbones without a head, whatever head their weights have."""
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
        if is_own(entry.name):
            check_own(entry)
        names = (entry.name,) if is_own(entry.name) else expand_subject(entry)
        for name in names:
            found = find_weights(entry, name, num_classes=0)
            yield found.subject(entry, name, 0, "backbone")


def _heads(
    probe: ProbeConfig,
    subject: Subject,
    train: Source,
    validation: Source | None,
    config: ExperimentConfig,
) -> Iterator[ProbeHead]:
    for protocol in dict.fromkeys(probe.protocols):
        payload = {
            "version": NUMBERS_VERSION["probe"],
            "kind": "probe",
            "protocol": protocol,
            "model": subject.digest,
            "train": train.fingerprint,
            "on_error": config.on_error,
            **{key: _plain(getattr(probe, key)) for key in _KEYS[protocol]},
        }
        if protocol == "knn":
            for count in sorted(set(probe.neighbors)):
                found = run_digest(payload | {"neighbors": count})
                yield ProbeHead(protocol, count, found)
            continue
        if validation is not None:
            del payload["validation_share"]
            payload["validation"] = validation.fingerprint
        yield ProbeHead(protocol, None, run_digest(payload))


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
