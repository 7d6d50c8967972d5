"""The compiled step: uint8 images in, one small row per example kept on the device."""

import dataclasses
import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, PartitionSpec

from jaxbench.data.preprocess import normalize
from jaxbench.engine.compilation import Program, compile_ahead
from jaxbench.engine.mesh import DATA_AXIS, put_replicated, put_rows
from jaxbench.metrics import ClassificationState, score_examples
from model_zoo import Classifier

# Steps whose rows gather on the device before they are fetched in one piece. The same
# for every dataset, so that its length never asks for another compilation.
STEPS_PER_FETCH = 64

# The host knows the labels and the mask: it made the batch.
_KNOWN_TO_HOST = ("label", "mask")
# Columns that change with the temperature; the rest are the same at every one.
TEMPERED_COLUMNS = (
    "confidence",
    "log_one_minus_confidence",
    "nll",
    "brier",
    "entropy",
    "margin",
)


class Carry(NamedTuple):
    """What stays on the devices between steps; donated, so updated in place.

    Attributes:
        state: Running sums, one set a device: leaves lead with the device axis. They
            are added up once at the end, so that no step waits for another device.
        rows: Column name to [STEPS_PER_FETCH, batch], cut over devices along batch.
    """

    state: ClassificationState
    rows: dict[str, jax.Array]


class StepOutput(NamedTuple):
    """What a step hands back beside the carry.

    Attributes:
        seen: [devices] rows that counted; small, what the clock waits on.
        logits: [batch, classes], only if asked for.
        features: [batch, width], only if asked for.
    """

    seen: jax.Array
    logits: jax.Array | None
    features: jax.Array | None


@dataclasses.dataclass(frozen=True)
class StepPlan:
    """Everything that decides which program a step needs, besides the weights' shapes.

    Attributes:
        model: Gives `apply`, the input's size and its normalisation.
        mesh: The devices.
        batch_size: Rows of a step over all devices, a multiple of their number.
        tempered: Whether to score every example at a second temperature too.
        keep_logits: Whether logits leave the device.
        keep_features: Whether penultimate features leave the device.
    """

    model: Classifier
    mesh: Mesh
    batch_size: int
    tempered: bool = False
    keep_logits: bool = False
    keep_features: bool = False


def _score(plan: StepPlan, variables, images, labels, mask, temperature):
    """One device's share of a step, up to the scores."""
    spec = plan.model.input_spec
    outputs = plan.model.apply(variables, normalize(images, spec.mean, spec.std))
    logits = outputs.logits.astype(jnp.float32)
    scores = score_examples(logits, labels, mask=mask)
    columns = {
        name: column
        for name, column in scores._asdict().items()
        if name not in _KNOWN_TO_HOST
    }
    if plan.tempered:
        tempered = score_examples(logits, labels, mask=mask, temperature=temperature)
        columns |= {f"{n}_ts": getattr(tempered, n) for n in TEMPERED_COLUMNS}
    return outputs, scores, columns


def _step(plan: StepPlan, variables, carry, images, labels, mask, at, temperature):
    outputs, scores, columns = _score(
        plan, variables, images, labels, mask, temperature
    )
    state = jax.tree.map(lambda leaf: leaf[0], carry.state).update(scores)
    rows = {
        name: jax.lax.dynamic_update_index_in_dim(buffer, columns[name], at, 0)
        for name, buffer in carry.rows.items()
    }
    output = StepOutput(
        seen=mask.sum(dtype=jnp.int32)[None],
        logits=outputs.logits.astype(jnp.float32) if plan.keep_logits else None,
        features=(
            outputs.features.astype(jnp.float32)
            if plan.keep_features and outputs.features is not None
            else None
        ),
    )
    return Carry(jax.tree.map(lambda leaf: leaf[None], state), rows), output


@functools.lru_cache(maxsize=64)
def _sharded_step(plan: StepPlan):
    by_row, whole = PartitionSpec(DATA_AXIS), PartitionSpec()
    carry = Carry(by_row, PartitionSpec(None, DATA_AXIS))  # pyright: ignore[reportArgumentType]
    sharded = jax.shard_map(
        functools.partial(_step, plan),
        mesh=plan.mesh,
        in_specs=(whole, carry, by_row, by_row, by_row, whole, whole),
        out_specs=(carry, by_row),
    )
    return jax.jit(sharded, donate_argnums=1)


@functools.lru_cache(maxsize=64)
def _empty_carry(plan: StepPlan, names: tuple[tuple[str, str], ...]):
    """A compiled function that makes the first carry on the devices."""

    def make() -> Carry:
        state = jax.tree.map(lambda leaf: leaf[None], ClassificationState.empty())
        local = plan.batch_size // plan.mesh.size
        rows = {
            name: jnp.zeros((STEPS_PER_FETCH, local), dtype) for name, dtype in names
        }
        return jax.tree.map(
            lambda leaf: jax.lax.pcast(leaf, DATA_AXIS, to="varying"),
            Carry(state, rows),
        )

    carry = Carry(PartitionSpec(DATA_AXIS), PartitionSpec(None, DATA_AXIS))  # pyright: ignore[reportArgumentType]
    return jax.jit(jax.shard_map(make, mesh=plan.mesh, in_specs=(), out_specs=carry))


@functools.lru_cache(maxsize=64)
def _total(mesh: Mesh):
    """A compiled function that adds up the devices' states: the one collective."""

    def add(state: ClassificationState) -> ClassificationState:
        return jax.tree.map(lambda leaf: jax.lax.psum(leaf[0], DATA_AXIS), state)

    return jax.jit(
        jax.shard_map(
            add, mesh=mesh, in_specs=PartitionSpec(DATA_AXIS), out_specs=PartitionSpec()
        )
    )


_programs: dict = {}
# Executables of a large zoo would otherwise pile up in memory.
_MAX_PROGRAMS = 32


@dataclasses.dataclass
class Stepper:
    """A compiled step bound to its weights.

    Attributes:
        plan: What was compiled.
        variables: Flat weights, on every device of the mesh.
        program: The executable and its cost.
        compiled_now: Whether this pass paid for the compilation.
        columns: Name and dtype of the columns that a step gives.
    """

    plan: StepPlan
    variables: dict[str, jax.Array]
    program: Program
    compiled_now: bool
    columns: tuple[tuple[str, str], ...]

    @classmethod
    def build(cls, plan: StepPlan, variables) -> "Stepper":
        """Puts the weights on the devices and finds or compiles the program."""
        placed = put_replicated(plan.mesh, dict(variables))
        shapes = tuple((n, v.shape, str(v.dtype)) for n, v in sorted(placed.items()))
        found = _programs.pop((plan, shapes), None)
        program, columns = found or _compile(plan, placed)
        # Back in at the end: the one that was not used for longest goes first.
        _programs[plan, shapes] = (program, columns)
        while len(_programs) > _MAX_PROGRAMS:
            del _programs[next(iter(_programs))]
        return cls(plan, placed, program, found is None, columns)

    def empty_carry(self) -> Carry:
        """A carry that has seen nothing."""
        return _empty_carry(self.plan, self.columns)()

    def total(self, carry: Carry) -> ClassificationState:
        """The running sums over all devices, fetched."""
        return jax.device_get(_total(self.plan.mesh)(carry.state))

    def __call__(
        self, carry: Carry, images, labels, mask, at: int, temperature: float
    ) -> tuple[Carry, StepOutput]:
        """Runs one step; this process's rows of the batch come from the host."""
        arguments = _arguments(self.plan, images, labels, mask, at, temperature)
        return self.program.call(self.variables, carry, *arguments)


def _arguments(plan: StepPlan, images, labels, mask, at: int, temperature: float):
    """A step's inputs on the devices."""
    scalars = (np.int32(at), np.float32(temperature))
    return (
        *(put_rows(plan.mesh, rows) for rows in (images, labels, mask)),
        *put_replicated(plan.mesh, scalars),
    )


def _compile(plan: StepPlan, variables) -> tuple[Program, tuple[tuple[str, str], ...]]:
    columns = _column_types(plan, variables)
    height, width = plan.model.input_spec.size
    rows = plan.batch_size // jax.process_count()
    images = np.zeros((rows, height, width, 3), np.uint8)
    labels, mask = np.zeros(rows, np.int32), np.zeros(rows, bool)
    arguments = _arguments(plan, images, labels, mask, 0, 1.0)
    carry = _empty_carry(plan, columns)()
    return compile_ahead(_sharded_step(plan), variables, carry, *arguments), columns


def _column_types(plan: StepPlan, variables) -> tuple[tuple[str, str], ...]:
    """Names and dtypes of the columns that a step gives."""
    height, width = plan.model.input_spec.size
    images = jax.ShapeDtypeStruct((1, height, width, 3), jnp.uint8)
    labels = jax.ShapeDtypeStruct((1,), jnp.int32)
    mask = jax.ShapeDtypeStruct((1,), jnp.bool_)
    temperature = jax.ShapeDtypeStruct((), jnp.float32)
    _, _, columns = jax.eval_shape(
        functools.partial(_score, plan), variables, images, labels, mask, temperature
    )
    return tuple((name, str(column.dtype)) for name, column in columns.items())
