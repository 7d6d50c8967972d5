"""Contrastive training of one network: the loop on the host and what it gives."""

import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxbench.data import ImageArrays
from jaxbench.engine.programs import compiled
from jaxbench.errors import UserError
from jaxbench.training.checkpoints import PopulationCheckpoints, Progress
from jaxbench.training.contrastive.curation import CurationState
from jaxbench.training.contrastive.encoder import Encoder
from jaxbench.training.contrastive.recipes import ContrastiveRecipe
from jaxbench.training.contrastive.step import (
    ContrastiveState,
    Draw,
    DrawSpec,
    Scalars,
    draw_step,
)
from jaxbench.training.data import TrainingImages
from jaxbench.training.inputs import Augmentation, Batches
from jaxbench.training.members import (
    HyperParameters,
    epoch_order,
    initial_variables,
    member_problems,
    member_scalars,
)
from jaxbench.training.optimizers import Optimizer, get_optimizer
from jaxbench.training.recipes import Recipe
from jaxbench.training.specs import SOUND, GradientSpec, Horizon, StepSpec, UpdateSpec
from jaxbench.training.starts import output_names
from jaxbench.training.steps import start
from jaxbench.training.tasks import default_device, tree_bytes

# With a budget of updates: a run that needs more draws than this for each gives up.
MOST_DRAWS = 10


@dataclass(frozen=True)
class ContrastiveResult:
    """What became of a run.

    Attributes:
        variables: The backbone's last finite variables, as NumPy arrays.
        projection: Those of the projection head.
        curves: Name to float64 [draws], see `Draw`: `loss`, `nt_xent`, `huber`,
            `distance`, `threshold`, `used`, `batch` and `attempt`.
        diverged_step: The first step whose loss or outcome was not finite, or None.
        counts: `draws`, forward passes of a batch of two views; `updates`, draws that
            were used; `rejected`, those that were not; `batches`, batches of images
            that were taken; `images_seen`, images of these, with repeats over epochs;
            `views_seen`, through the network forwards; `backward_passes`, of which
            `draws - updates` were for nothing on CPUs and none elsewhere.
        timing: `compile_seconds`; `train_seconds`, without compilation;
            `train_cpu_seconds`, the process's time on all processors meanwhile;
            `seconds_per_draw`, `optimizer_bytes`, and `peak_memory_bytes` of the
            program.
    """

    variables: dict[str, np.ndarray]
    projection: dict[str, np.ndarray]
    curves: dict[str, np.ndarray]
    diverged_step: int | None
    counts: dict[str, int]
    timing: dict[str, float]

    def final_loss(self, share: float = 0.1) -> float:
        """Mean loss of the last draws that were used; NaN if it diverged.

        Args:
            share: Of all draws that were used, at least one.
        """
        if self.diverged_step is not None:
            return float("nan")
        losses = self.curves["loss"][self.curves["used"] > 0]
        return float(losses[-max(1, round(share * len(losses))) :].mean())


def train_contrastive(
    encoder: Encoder,
    optimizer: str | Optimizer,
    member: HyperParameters,
    data: TrainingImages | ImageArrays,
    recipe: ContrastiveRecipe,
    *,
    checkpoint_dir: str | Path | None = None,
    checkpoint_seconds: float = 30.0,
    on_chunk: Callable[[int, int], object] | None = None,
) -> ContrastiveResult:
    """Trains a backbone on pairs of views, curated as the recipe says.

    A draw is one call of one compiled program, which decides itself whether it updates
    and whether the next call draws new views of the same images. The host looks at the
    outcome at the end of an epoch and where a count may have been reached, never for a
    decision. One device takes part.

    The same member and recipe give the same numbers; on CPUs bit for bit. Runs that
    differ in curation alone see the same images and, of each batch, the same first
    views.

    Args:
        encoder: Backbone and head; the head is the recipe's.
        optimizer: A name in `OPTIMIZERS`, or a row.
        member: Rate, decay, seed and the optimizer's own options.
        data: Images in memory, which are put on the device whole; labels are not used.
        recipe: What to do.
        checkpoint_dir: A folder for this run alone; a run that was cut off goes on from
            there, on CPUs bit for bit.
        checkpoint_seconds: Least time between two checkpoints.
        on_chunk: Called with the budget spent and in all.

    Raises:
        UserError: If an argument does not fit the others; if no draw passes, or, with a
            budget of updates, fewer than one in `MOST_DRAWS`.
    """
    row = optimizer if isinstance(optimizer, Optimizer) else get_optimizer(optimizer)
    problems = contrastive_problems(row, member, recipe, len(data.images))
    problems += _encoder_problems(encoder, recipe, tuple(data.images.shape[1:3]))
    if problems:
        raise UserError(f"contrastive training: {'; '.join(problems)}")
    images = TrainingImages(data.images, np.zeros(len(data.images), np.int32))
    run = _Run(encoder, row, member, images, recipe)
    if checkpoint_dir is None:
        run.train(None, on_chunk)
    else:
        with PopulationCheckpoints(
            checkpoint_dir, run.settings(), seconds=checkpoint_seconds
        ) as checkpoints:
            run.train(checkpoints, on_chunk)
    return run.result()


def contrastive_problems(
    optimizer: Optimizer,
    member: HyperParameters,
    recipe: ContrastiveRecipe,
    num_images: int | None = None,
) -> list[str]:
    """Problems that show before an image is read.

    Args:
        optimizer: A row of `OPTIMIZERS`.
        member: Rate, decay, seed and the optimizer's own options.
        recipe: What compared runs share.
        num_images: Of the training set, if known.
    """
    problems = list(member_problems((member,), optimizer, Recipe()))
    if member.label_smoothing is not None:
        problems.append("label_smoothing has no use without labels")
    if optimizer.curvature_every is not None:
        problems.append(
            f"{optimizer.name} needs the curvature of a classifier's loss, which "
            "contrastive training lacks; choose another optimizer"
        )
    if optimizer.evaluated is not None:
        problems.append(
            f"{optimizer.name} is evaluated at other weights than it trains at, for "
            "which running statistics would have to be taken anew; choose another"
        )
    if num_images is not None and recipe.batch_size > num_images:
        problems.append(
            f"batch_size is {recipe.batch_size} and there are {num_images} images, so "
            "no batch can be filled; choose a smaller batch_size"
        )
    return problems


def _encoder_problems(
    encoder: Encoder, recipe: ContrastiveRecipe, size: tuple[int, ...]
) -> Iterator[str]:
    wanted = tuple(encoder.input_spec.size)
    if size != wanted:
        yield (
            f"images are {size} (height, width), {encoder.name} wants {wanted}; load "
            "them with its input_spec"
        )
    asked = Encoder(encoder.classifier, recipe.hidden, recipe.width).head_size
    if encoder.head_size != asked:
        yield (
            f"the encoder's head has (hidden, width) {encoder.head_size}, the recipe's "
            f"{asked}; make it Encoder(classifier, recipe.hidden, recipe.width)"
        )


def draw_spec(
    encoder: Encoder, optimizer: Optimizer, recipe: ContrastiveRecipe
) -> DrawSpec:
    """What decides the program of a run."""
    return DrawSpec(
        encoder,
        StepSpec(
            GradientSpec(encoder, Augmentation(), "cross_entropy"),
            UpdateSpec(
                optimizer, recipe.clip_norm, encoder.decay_names, output_names(encoder)
            ),
        ),
        recipe.views,
        recipe.curation.method,
        recipe.curation.measure,
        recipe.normalized,
        recipe.budget,
        branches=jax.default_backend() != "cpu",
    )


class _Run:
    """One run at work."""

    def __init__(
        self,
        encoder: Encoder,
        optimizer: Optimizer,
        member: HyperParameters,
        images: TrainingImages,
        recipe: ContrastiveRecipe,
    ) -> None:
        self.encoder, self.recipe, self.member = encoder, recipe, member
        self.data = images
        self.spec = draw_spec(encoder, optimizer, recipe)
        self.steps_per_epoch = len(images.images) // recipe.batch_size
        self.total = recipe.epochs * self.steps_per_epoch
        self._put = partial(jax.device_put, device=default_device())
        self._images = self._put(tuple(images))
        self.scalars = self._put(self._scalars(optimizer))
        warmup = round(recipe.warmup_epochs * self.steps_per_epoch)
        lengths = (np.int32(warmup), np.int32(self.total), np.int32(0))
        self.horizon = self._put(Horizon(*lengths))  # pyright: ignore[reportArgumentType]
        self.records: dict[str, list[np.ndarray]] = {name: [] for name in Draw._fields}
        self.draws = self.updates = self.batch = 0
        names = ("compile_seconds", "train_seconds", "train_cpu_seconds")
        self.seconds: dict[str, float] = dict.fromkeys(names, 0.0)
        self._epoch: tuple[int, Batches] | None = None
        self._compile()

    def _scalars(self, optimizer: Optimizer) -> Scalars:
        recipe = self.recipe
        return Scalars(
            member_scalars(self.member, optimizer, Recipe()),
            np.float32(recipe.temperature),  # pyright: ignore[reportArgumentType]
            np.float32(recipe.huber_weight),  # pyright: ignore[reportArgumentType]
            np.float32(recipe.huber_delta),  # pyright: ignore[reportArgumentType]
            recipe.curation.limits(),
        )

    def _compile(self) -> None:
        first = self._put(initial_variables(self.encoder, self.member.seed))
        begin, seconds = compiled(start, (self.spec.step,), (first,))
        window = self.recipe.curation.window
        curation = self._put(CurationState.empty(window))
        self.state = ContrastiveState(begin.call(first), curation)
        arguments = (self.state, self._batches(0), self.scalars, self.horizon)
        program, more = compiled(draw_step, (self.spec,), arguments, donate=(0,))
        self._draw, self.memory_bytes = program.call, program.memory_bytes
        self.seconds["compile_seconds"] += seconds + more
        self.optimizer_bytes = tree_bytes(self.state.member.optimizer)

    def _batches(self, epoch: int) -> Batches:
        if self._epoch is None or self._epoch[0] != epoch:
            rows = epoch_order(
                self.member.seed,
                epoch,
                num_images=len(self.data.images),
                batch_size=self.recipe.batch_size,
            )
            first = np.int32(epoch * self.steps_per_epoch)
            batches = Batches(*self._images, *self._put((rows, first)))
            self._epoch = epoch, batches
        return self._epoch[1]

    @property
    def spent(self) -> int:
        """Of the budget."""
        return self.draws if self.recipe.budget == "draws" else self.updates

    def settings(self) -> dict[str, Any]:
        """What decides the numbers, for the folder of the checkpoints."""
        return {
            "classifier": self.encoder.name,
            # Of the zoo's networks: what they compute in, and what they drop.
            "network": repr(getattr(self.encoder.classifier, "settings", None)),
            "input_spec": asdict(self.encoder.input_spec),
            "optimizer": self.spec.step.update.optimizer.name,
            "member": self.member.settings(),
            "recipe": asdict(self.recipe),
            "training_set": self.data.fingerprint(),
            "branches": self.spec.branches,
        }

    def train(
        self,
        checkpoints: PopulationCheckpoints | None,
        on_chunk: Callable[[int, int], object] | None,
    ) -> None:
        if checkpoints is not None:
            self._restore(checkpoints.latest(self.state))
        while self.spent < self.total and self._sound():
            self._chunk()
            self._check_draws()
            if on_chunk is not None:
                on_chunk(self.spent, self.total)
            if checkpoints is not None:
                checkpoints.save_if_due(self._progress)

    def _chunk(self) -> None:
        """As many draws as neither end the epoch nor the budget before their last."""
        begun, begun_cpu = time.perf_counter(), time.process_time()
        epoch, at = divmod(self.batch, self.steps_per_epoch)
        calls = min(self.steps_per_epoch - at, self.total - self.spent)
        batches, records = self._batches(epoch), []
        for _ in range(calls):
            self.state, record = self._draw(
                self.state, batches, self.scalars, self.horizon
            )
            records.append(record)
        fetched = jax.device_get(records)
        place = jax.device_get(self.state.curation)
        self.draws, self.updates = int(place.draws), int(place.updates)
        self.batch = int(place.batch)
        for name, values in zip(Draw._fields, zip(*fetched, strict=True), strict=True):
            self.records[name].append(np.asarray(values, np.float64))
        self.seconds["train_seconds"] += time.perf_counter() - begun
        self.seconds["train_cpu_seconds"] += time.process_time() - begun_cpu

    def _sound(self) -> bool:
        return int(self.state.member.diverged_step) == SOUND

    def _check_draws(self) -> None:
        """Gives up where nothing is learned, or updates would never end."""
        if self.recipe.budget == "draws":
            hopeless = not self.updates and self.spent >= self.total
            least = "and one at least is wanted"
        else:
            few = self.updates * MOST_DRAWS < self.draws
            hopeless = few and self.draws >= self.steps_per_epoch
            least = f"fewer than one in {MOST_DRAWS}"
        if hopeless:
            raise UserError(
                f"curation used {self.updates} of {self.draws} draws, {least}; raise "
                "max_distance or quantile (a run with method 'none' records the "
                "distances that occur)"
            )

    def _curves(self) -> dict[str, np.ndarray]:
        return {
            name: np.concatenate([*pieces, np.zeros(0)])
            for name, pieces in self.records.items()
        }

    def _progress(self) -> Progress:
        return Progress(self.draws, self.state, self._curves(), self.seconds, [])

    def _restore(self, kept: Progress | None) -> None:
        if kept is None:
            return
        self.state = self._put(kept.state)
        place = jax.device_get(self.state.curation)
        self.draws, self.updates = int(place.draws), int(place.updates)
        self.batch = int(place.batch)
        self.records = {name: [curve] for name, curve in kept.curves.items()}
        compiling = self.seconds["compile_seconds"] + kept.seconds["compile_seconds"]
        self.seconds = kept.seconds | {"compile_seconds": compiling}

    def result(self) -> ContrastiveResult:
        member, curves = self.state.member, self._curves()
        variables = {
            name: np.array(value)
            for name, value in (member.parameters | member.statistics).items()
        }
        backbone = self.encoder.backbone(variables)
        diverged = int(member.diverged_step)
        size = self.recipe.batch_size
        batches = int(curves["batch"][-1]) + 1 if len(curves["batch"]) else 0
        spared = self.draws - self.updates if self.spec.branches else 0
        counts = {
            "draws": self.draws,
            "updates": self.updates,
            "rejected": self.draws - self.updates,
            "batches": batches,
            "images_seen": batches * size,
            "views_seen": 2 * self.draws * size,
            "backward_passes": self.draws - spared,
        }
        timing = self.seconds | {
            "seconds_per_draw": self.seconds["train_seconds"] / max(self.draws, 1),
            "optimizer_bytes": float(self.optimizer_bytes),
            "peak_memory_bytes": float(self.memory_bytes),
        }
        head = {n: v for n, v in variables.items() if n not in backbone}
        step = None if diverged == SOUND else diverged
        return ContrastiveResult(backbone, head, curves, step, counts, timing)
