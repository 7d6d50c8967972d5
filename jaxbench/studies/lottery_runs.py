"""Which runs of a results folder are which model's, for the benchmark lottery."""

from collections import defaultdict
from collections.abc import Mapping

from jaxbench.errors import UserError
from jaxbench.studies.entries import Entry, Results, Row, diverged, identity


def lottery_runs(results: Results) -> dict[str, dict[str, str]]:
    """Model to dataset address to run id, of everything that has labels.

    One model is one entry of the results: of the trials of one network, optimizer and
    training the best by validation accuracy, and none where that diverged. A student
    with a teacher is so another model than the network alone. Where the features of a
    frozen backbone were classified by something else than its own head (the setting
    `protocol`), that is a model of its own, such as "resnet50 (linear probe)".

    Raises:
        UserError: If a model has two results on one dataset that nothing tells apart.
    """
    owners = {
        identity(row): entry.label
        for entry in results.entries
        if not diverged(entry.trial)
        for row in _rows(entry)
    }
    found: dict[str, dict[str, str]] = defaultdict(dict)
    twice = []
    for row in results.evaluations:
        label = owners.get(identity(row))
        if label is None or row["role"] == "ood":
            continue
        address = row["dataset"] or "(unnamed)"
        if address in found[label]:
            twice.append(f"{label} on {address}")
        found[label][address] = row["run_id"]
    if twice:
        raise UserError(
            f"{len(twice)} results are there twice, such as {twice[0]}: runs of other "
            "settings or data share the folder; give each experiment its own"
        )
    return dict(found)


def diverged_models(results: Results) -> list[str]:
    """Models that are left out because their training diverged."""
    return [entry.label for entry in results.entries if diverged(entry.trial)]


def lottery_reference(
    runs: Mapping[str, Mapping[str, str]], results: Results, wanted: str | None
) -> str:
    """The reference: as wanted, else the clean dataset that most models have.

    Raises:
        UserError: If the folder has no evaluation with labels.
    """
    if wanted is not None:
        return wanted
    if results.dataset is None or not runs:
        raise UserError(
            "the folder has no finished evaluation of a clean dataset, so there is no "
            "ranking; run an experiment with [evaluate] clean, or name a --reference"
        )
    return results.dataset


def _rows(entry: Entry) -> list[Row]:
    trial = [] if entry.trial is None else [entry.trial]
    return [*trial, *entry.clean.values(), *entry.shifted.values()]
