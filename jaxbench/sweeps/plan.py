"""From an experiment file to its jobs."""

import dataclasses
from collections.abc import Iterable, Iterator, Mapping

from jaxbench.config import ExperimentConfig
from jaxbench.data import Source, expand_addresses
from jaxbench.data.overlap import common_images
from jaxbench.data.scoring import num_outputs, scoring_of
from jaxbench.engine import Role
from jaxbench.errors import UserError, unknown_name
from jaxbench.metrics import SCORE_METRICS
from jaxbench.results import run_digest
from jaxbench.sweeps.datasets import Datasets
from jaxbench.sweeps.jobs import KINDS
from jaxbench.sweeps.jobs.evaluation import Evaluation
from jaxbench.sweeps.jobs.protocol import AnyDigested, Job, Plan, Target
from jaxbench.sweeps.numbers import NUMBERS_VERSION
from jaxbench.sweeps.own import find_parts, measured_parts


def make_plan(config: ExperimentConfig) -> Plan:
    """Looks up every name, opens every dataset and plans every job.

    Raises:
        UserError: If a name does not exist, or datasets do not fit the models or each
            other; all problems of a step are reported at once.
    """
    _raise_all(find_parts(config))
    problems = [text for kind in KINDS.values() for text in kind.problems(config)]
    problems += [
        unknown_name("metric", name, SCORE_METRICS)
        for name in config.evaluate.metrics or ()
        if name not in SCORE_METRICS
    ]
    _raise_all(problems)
    datasets = Datasets(config)
    plan = Plan(config, datasets, _unique(_targets(config, datasets)))
    for kind in KINDS.values():
        jobs = _unique([*plan.jobs, *kind.plan(plan)])
        plan = dataclasses.replace(plan, jobs=jobs)
    _raise_all([*_class_problems(plan), *_calibration_problems(plan)])
    _raise_all(_label_problems(plan))
    _raise_all(_shared_runs(plan.jobs))
    return plan


def find_job(config: ExperimentConfig, digest: str) -> Job:
    """The job of an experiment with a digest, planned anew.

    Args:
        config: The experiment.
        digest: `Job.digest`, in another plan of the same file.

    Raises:
        UserError: If it is missing: file, datasets or weights have changed.
    """
    jobs = {job.digest: job for job in make_plan(config).jobs}
    if digest not in jobs:
        titles = "\n".join(f"  {key} {job.title}" for key, job in jobs.items())
        raise UserError(
            f"{config.name!r} has no job {digest}; its file, datasets or weights may "
            f"have changed since. Its jobs:\n{titles}"
        )
    return jobs[digest]


def _raise_all(problems: Iterable[str]) -> None:
    if found := list(dict.fromkeys(problems)):
        raise UserError("\n".join(found))


def _unique(items: Iterable[AnyDigested]) -> tuple[AnyDigested, ...]:
    """Drops items with the digest of an earlier one."""
    first: dict[str, AnyDigested] = {}
    for item in items:
        first.setdefault(item.digest, item)
    return tuple(first.values())


def _targets(config: ExperimentConfig, datasets: Datasets) -> Iterator[Target]:
    evaluate = config.evaluate
    calibration = datasets.calibration()
    listed: list[tuple[Role, tuple[str, ...]]] = [
        ("clean", evaluate.clean),
        ("shifted", evaluate.shifted),
        ("ood", evaluate.ood),
    ]
    seen: dict[str, Role] = {}
    first = reference = None
    for role, patterns in listed:
        for address in expand_addresses(patterns):
            if seen.setdefault(address, role) != role:
                raise UserError(f"{address} is both {seen[address]} and {role}")
            if role == "ood":
                source = datasets.open(address, other_classes=True)
            else:
                source = datasets.evaluated(address)
            if reference is None:
                first, reference = address, source.fingerprint
            scoring = scoring_of(source)
            digest = run_digest(
                ({"scoring": scoring.digest} if scoring else {})
                | (measured_parts(evaluate.metrics) if role != "ood" else {})
                | {
                    "version": NUMBERS_VERSION["evaluation"],
                    "dataset": source.fingerprint,
                    "role": role,
                    "reference": reference if role == "ood" else None,
                    "calibration": calibration and calibration.fingerprint,
                    "metrics": evaluate.metrics and list(evaluate.metrics),
                    "num_resamples": evaluate.num_resamples,
                    "seed": config.seed,
                    "on_error": config.on_error,
                }
            )
            compared = first if role == "ood" else None
            yield Target(address, role, source, digest, compared)


def _class_problems(plan: Plan) -> Iterator[str]:
    """Datasets that disagree about the classes of labels, where models need one order.

    A model whose outputs have names sees each dataset under labels of its own.
    """
    sources: dict[str, Source] = {}
    for kind in KINDS.values():
        sources |= kind.sources(plan)
    if not sources:
        return
    evaluated = {t.address: t.source for t in plan.targets if t.role != "ood"}
    sources = evaluated | sources
    if (calibration := plan.datasets.calibration()) is not None:
        sources["calibration"] = calibration
    # Coarse classes are made of the models' own, and have no order in common with them.
    fine = {a: s.class_names for a, s in sources.items() if not _is_coarse(s)}
    counts = {address: num_outputs(source) for address, source in sources.items()}
    if not fine and len(set(counts.values())) > 1:
        yield f"the datasets are for different numbers of classes: {counts}"
    if not fine:
        return
    first, known = next(iter(fine.items()))
    for address, count in counts.items():
        if address not in fine and count != len(known):
            yield (
                f"{address} is made of {count} classes, {first} has {len(known)}; give "
                "`classes`, a file with the models' class names in order"
            )
    yield from _order_problems(fine, first)


def _order_problems(names: Mapping[str, tuple[str, ...]], first: str) -> Iterator[str]:
    for address, classes in names.items():
        for label, (one, other) in enumerate(zip(names[first], classes, strict=False)):
            if one != other:
                yield (
                    f"label {label} is {one!r} in {first} and {other!r} in {address}; "
                    "give `classes`, a file with the class names in order"
                )
                break


def _is_coarse(source: Source) -> bool:
    scoring = scoring_of(source)
    return scoring is not None and scoring.groups is not None


def _calibration_problems(plan: Plan) -> Iterator[str]:
    """Temperatures must not be judged by the images that they were fitted on."""
    calibration = plan.datasets.calibration()
    if calibration is None:
        return
    for target in plan.targets:
        if count := common_images(target.source, calibration):
            yield (
                f"{target.address} is evaluated and {count} of its images are in the "
                "calibration set; choose others"
            )


def _label_problems(plan: Plan) -> Iterator[str]:
    """Datasets with a class that a model's list lacks."""
    for model in (model for job in plan.of(Evaluation) for model in job.models):
        try:
            plan.calibration_seen_by(model)
            for target in plan.targets:
                plan.seen_by(model, target)
        except UserError as error:
            yield f"{model.title}: {error}"


def _shared_runs(jobs: Iterable[Job]) -> Iterator[str]:
    """Training runs that two jobs would do, in one folder of checkpoints."""
    seen: set[str] = set()
    for job in (job for job in jobs if job.makes == "trial"):
        for run_id in job.run_ids():
            if run_id in seen:
                settings = job.settings(run_id)
                point = {n: settings[n] for n in ("learning_rate", "seed")}
                yield (
                    f"{job.title} with {point} stands in two tables; take it out of one"
                )
        seen |= set(job.run_ids())
