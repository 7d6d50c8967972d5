"""Weights & Biases: one run per model, with an id that any machine would give it."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import wandb
from wandb.errors import UsageError

from jaxbench.errors import UserError
from jaxbench.loggers.tracker import (
    Point,
    Setting,
    Status,
    Subject,
    TrackedRun,
    grouped,
    plain,
)

# Exit codes as W&B shows them: 255 is a run that was interrupted.
_EXIT_CODES: dict[Status, int] = {"finished": 0, "failed": 1, "killed": 255}
# Longest waits for a server: to begin a run, and to upload its data at the end.
_INIT_SECONDS, _FINISH_SECONDS = 30.0, 60.0
# Stored beside an offline run, whose last step no server knows.
_STEP_FILE = "jaxbench-last-step.txt"


class WeightsAndBiases:
    """Runs of a project.

    Args:
        project: PROJECT or ENTITY/PROJECT.
    """

    def __init__(self, project: str) -> None:
        self._entity, _, self._project = project.rpartition("/")

    def start(self) -> None:
        """Looks for an API key.

        Raises:
            UserError: If there is none and W&B is not offline.
        """
        if wandb.setup().settings.mode in ("offline", "dryrun", "disabled"):
            return
        try:
            known = wandb.login(prompt=False, verify=False)
        except UsageError as error:
            raise UserError(f"log 'wandb:{self._project}': {error}") from error
        if not known:
            raise UserError(
                f"log 'wandb:{self._project}': there is no API key; run `wandb login`, "
                "or set WANDB_MODE=offline and upload later by `wandb sync`"
            )

    def open(self, subject: Subject) -> TrackedRun:
        """Starts a run, or goes on with the one that has the subject's id."""
        run = wandb.init(
            entity=self._entity or None,
            project=self._project,
            id=subject.key,
            name=subject.name,
            group=subject.experiment,
            job_type=subject.kind,
            resume="allow",
            # Training goes on without a server: what is not uploaded lies in ./wandb.
            settings=wandb.Settings(
                reinit="create_new",
                console="off",
                silent=True,
                x_disable_stats=True,
                init_timeout=_INIT_SECONDS,
                finish_timeout=_FINISH_SECONDS,
                finish_timeout_raises=True,
                x_graphql_retry_max=2,
                x_graphql_timeout_seconds=10,
                x_file_stream_retry_max=3,
                x_file_transfer_retry_max=3,
            ),
        )
        return _Run(run)


class _Run:
    def __init__(self, run: wandb.Run) -> None:
        self._run = run
        self._folder = Path(run.settings.sync_dir)
        steps = self._folder.parent.glob(f"*-{run.id}*/{_STEP_FILE}")
        # The server's next step, which is 0 for a run that is new or offline.
        self.last_step = max([run.step - 1, *(int(p.read_text()) for p in steps)])

    def settings(self, values: Mapping[str, Setting], group: str) -> None:
        """Adds settings to the run's config."""
        self._run.config.update(grouped(values, group), allow_val_change=True)

    def points(self, points: Sequence[Point]) -> None:
        """Logs points of curves as the run's history."""
        for step, values in points:
            self._run.log(dict(values), step=step, commit=True)
            self.last_step = step
        if points and self._run.offline:
            (self._folder / _STEP_FILE).write_text(str(self.last_step))

    def metrics(self, values: Mapping[str, float], group: str) -> None:
        """Adds final numbers to the run's summary."""
        self._run.summary.update(grouped(values, group))

    def file(self, path: Path) -> None:
        """Logs a file as an artifact."""
        self._run.log_artifact(
            str(path), name=plain(f"{self._run.name}-{path.stem}"), type="report"
        )

    def close(self, status: Status) -> None:
        """Ends the run once its data is uploaded, or a minute is over."""
        self._run.finish(exit_code=_EXIT_CODES[status])


def make_tracker(target: str) -> WeightsAndBiases:
    """The tracker of a project."""
    return WeightsAndBiases(target)
