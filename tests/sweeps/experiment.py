"""A small experiment that the sweep tests run in seconds."""

from pathlib import Path

from jaxbench.config import ExperimentConfig, parse_config
from jaxbench.sweeps import Plan
from jaxbench.sweeps.jobs.evaluation import Evaluation
from jaxbench.sweeps.jobs.training import Training


def experiment(results: Path, **changes) -> ExperimentConfig:
    table = {
        "name": "small",
        "results": str(results),
        "limit": 96,
        "train": {
            "models": ["mixer_micro"],
            "dataset": "digits@train",
            "validation": "digits@validation",
            "epochs": 3,
            "batch_size": 32,
            # The tests have eight devices, which a population would be cut over.
            "strategy": "loop",
            "grid": {
                "sgd": {"learning_rate": [0.1, 0.03], "weight_decay": [1e-4]},
                "adamw": {"learning_rate": [0.004]},
            },
        },
        "evaluate": {
            "clean": ["digits@test"],
            "shifted": ["digits-c/contrast_5"],
            "ood": ["digits-ood"],
            "calibration": "digits@validation",
            "batch_size": 96,
            "num_resamples": 50,
        },
    }
    return parse_config(table | changes, origin="experiment")


def subjects(plan: Plan) -> list:
    """The models of a plan that come as they are."""
    given = [job for job in plan.of(Evaluation) if job.trained_by is None]
    return [model for job in given for model in job.models]


def trial_ids(plan: Plan) -> set[str]:
    return {run_id for job in plan.of(Training) for run_id in job.run_ids()}


def as_toml(config: ExperimentConfig) -> str:
    """The experiment as a file; TOML's inline values are JSON's here."""
    import json

    def is_tables(value) -> bool:
        return isinstance(value, list) and any(isinstance(v, dict) for v in value)

    def lines(table: dict, prefix: str):
        for key, value in table.items():
            nested = isinstance(value, dict) or is_tables(value)
            if value is not None and not nested and value != []:
                yield f"{key} = {json.dumps(value)}"
        for key, value in table.items():
            for part in value if is_tables(value) else ():
                yield f"[[{prefix}{key}]]"
                yield from lines(part, f"{prefix}{key}.")
            if isinstance(value, dict):
                yield f"[{prefix}{key}]"
                yield from lines(value, f"{prefix}{key}.")

    return "\n".join(lines(config.model_dump(mode="json"), "")) + "\n"
