"""The compiled step: uint8 images in, one small row per example kept on the device."""

import dataclasses
import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, PartitionSpec

from jaxbench.data.preprocess import normalize
from jaxbench.engine.compilation import Program
from jaxbench.engine.decisions import PLAIN, DecisionShape, Rules, decide
from jaxbench.engine.mesh import (
    DATA_AXIS,
    put_replicated,
    put_rows,
    replicated,
    split_rows,
)
from jaxbench.engine.programs import compiled
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
        decisions: How outputs become the dataset's decisions.
    """

    model: Classifier
    mesh: Mesh
    batch_size: int
    tempered: bool = False
    keep_logits: bool = False
    keep_features: bool = False
    decisions: DecisionShape = PLAIN

    @property
    def best_labels(self) -> bool:
        """Whether only the device knows which label of a set is meant."""
        return self.decisions.set_width > 0


def _score(plan: StepPlan, variables, rules, images, labels, mask, temperature):
    """One device's share of a step, up to the scores."""
    spec = plan.model.input_spec
    outputs = plan.model.apply(variables, normalize(images, spec.mean, spec.std))
    logits = outputs.logits.astype(jnp.float32)
    scores = decide(plan.decisions, rules, logits, labels, mask)
    names = column_types(plan.tempered, plan.best_labels)
    columns = {n: c for n, c in scores._asdict().items() if n in names}
    if plan.tempered:
        tempered = decide(plan.decisions, rules, logits, labels, mask, temperature)
        columns |= {f"{n}_ts": getattr(tempered, n) for n in TEMPERED_COLUMNS}
    return outputs, scores, columns


def _step(
    plan: StepPlan, variables, carry, rules, images, labels, mask, at, temperature
):
    outputs, scores, columns = _score(
        plan, variables, rules, images, labels, mask, temperature
    )
    features = outputs.features if plan.keep_features else None
    if plan.keep_features and features is None:
        raise ValueError(
            f"{plan.model.name} gives no features; return Outputs(logits, features) "
            "from its apply function, or do not ask for them"
        )
    state = jax.tree.map(lambda leaf: leaf[0], carry.state).update(scores)
    rows = {
        name: jax.lax.dynamic_update_index_in_dim(buffer, columns[name], at, 0)
        for name, buffer in carry.rows.items()
    }
    output = StepOutput(
        seen=mask.sum(dtype=jnp.int32)[None],
        logits=outputs.logits.astype(jnp.float32) if plan.keep_logits else None,
        features=None if features is None else features.astype(jnp.float32),
    )
    return Carry(jax.tree.map(lambda leaf: leaf[None], state), rows), output


def _sharded_step(plan: StepPlan, *arguments):
    by_row, whole = PartitionSpec(DATA_AXIS), PartitionSpec()
    carry = Carry(by_row, PartitionSpec(None, DATA_AXIS))  # pyright: ignore[reportArgumentType]
    return jax.shard_map(
        functools.partial(_step, plan),
        mesh=plan.mesh,
        in_specs=(whole, carry, whole, by_row, by_row, by_row, whole, whole),
        out_specs=(carry, by_row),
    )(*arguments)


@functools.lru_cache(maxsize=64)
def _empty_carry(mesh: Mesh, batch_size: int, tempered: bool, best_labels: bool):
    """A compiled function that makes the first carry on the devices."""

    def make() -> Carry:
        state = jax.tree.map(lambda leaf: leaf[None], ClassificationState.empty())
        shape = (STEPS_PER_FETCH, batch_size // mesh.size)
        types = column_types(tempered, best_labels)
        rows = {n: jnp.zeros(shape, t) for n, t in types.items()}
        return jax.tree.map(
            lambda leaf: jax.lax.pcast(leaf, DATA_AXIS, to="varying"),
            Carry(state, rows),
        )

    carry = Carry(PartitionSpec(DATA_AXIS), PartitionSpec(None, DATA_AXIS))  # pyright: ignore[reportArgumentType]
    return jax.jit(jax.shard_map(make, mesh=mesh, in_specs=(), out_specs=carry))


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


@functools.cache
def column_types(tempered: bool, best_labels: bool = False) -> dict[str, jnp.dtype]:
    """Name and dtype of the columns that a step leaves on the device.

    Args:
        tempered: Whether examples are scored at a second temperature.
        best_labels: Whether the label of each is among them; else the host knows it.
    """
    scores = jax.eval_shape(
        score_examples,
        jax.ShapeDtypeStruct((1, 2), jnp.float32),
        jax.ShapeDtypeStruct((1,), jnp.int32),
    )
    types = {
        name: column.dtype
        for name, column in scores._asdict().items()
        if name not in _KNOWN_TO_HOST or (best_labels and name == "label")
    }
    return types | {f"{n}_ts": types[n] for n in TEMPERED_COLUMNS if tempered}


@dataclasses.dataclass(frozen=True)
class Stepper:
    """A compiled step bound to its weights.

    Attributes:
        plan: What was compiled.
        variables: Flat weights, on every device of the mesh.
        rules: Of the decisions, likewise.
        program: The executable and its cost.
        compile_seconds: What compiling took just now; 0 if it was compiled before.
    """

    plan: StepPlan
    variables: dict[str, jax.Array]
    rules: dict[str, jax.Array]
    program: Program
    compile_seconds: float

    @classmethod
    def build(cls, plan: StepPlan, variables, rules: Rules) -> "Stepper":
        """Puts the weights on the devices and finds or compiles the program."""
        placed = put_replicated(plan.mesh, dict(variables))
        ruled = put_replicated(plan.mesh, dict(rules))
        return cls(plan, placed, ruled, *compile_step(plan, placed))

    def empty_carry(self) -> Carry:
        """A carry that has seen nothing."""
        plan = self.plan
        return _first_carry(plan)

    def total(self, carry: Carry) -> ClassificationState:
        """The running sums over all devices, fetched."""
        return jax.device_get(_total(self.plan.mesh)(carry.state))

    def __call__(
        self, carry: Carry, images, labels, mask, at: int, temperature: float
    ) -> tuple[Carry, StepOutput]:
        """Runs one step; this process's rows of the batch come from the host."""
        arguments = _arguments(self.plan, images, labels, mask, at, temperature)
        return self.program.call(self.variables, carry, self.rules, *arguments)


def compile_step(plan: StepPlan, variables) -> tuple[Program, float]:
    """Finds or compiles a step's program.

    Args:
        plan: What to compile.
        variables: The weights, or `jax.ShapeDtypeStruct`s of them, replicated over
            the mesh.

    Returns:
        The program, and the seconds that this call spent on compiling it.
    """
    arguments = (
        variables,
        _first_carry(plan),
        _rule_types(plan),
        *_argument_types(plan),
    )
    return compiled(_sharded_step, (plan,), arguments, donate=(1,))


def _first_carry(plan: StepPlan) -> Carry:
    make = _empty_carry(plan.mesh, plan.batch_size, plan.tempered, plan.best_labels)
    return make()


def _rule_types(plan: StepPlan) -> dict[str, jax.ShapeDtypeStruct]:
    """Shapes and placement of what `decision_rules` gives."""
    shape, whole = (plan.model.num_classes,), replicated(plan.mesh)
    types = {}
    if plan.decisions.masked:
        types["class_mask"] = jax.ShapeDtypeStruct(shape, jnp.bool_, sharding=whole)
    if plan.decisions.num_groups:
        types["groups"] = jax.ShapeDtypeStruct(shape, jnp.int32, sharding=whole)
    return types


def _argument_types(plan: StepPlan) -> tuple[jax.ShapeDtypeStruct, ...]:
    """Shapes and placement of what `_arguments` gives."""
    by_row, whole = split_rows(plan.mesh), replicated(plan.mesh)
    rows = plan.batch_size
    width = plan.decisions.set_width
    return (
        jax.ShapeDtypeStruct(
            (rows, *plan.model.input_spec.size, 3), jnp.uint8, sharding=by_row
        ),
        jax.ShapeDtypeStruct(
            (rows, width) if width else (rows,), jnp.int32, sharding=by_row
        ),
        jax.ShapeDtypeStruct((rows,), jnp.bool_, sharding=by_row),
        jax.ShapeDtypeStruct((), jnp.int32, sharding=whole),
        jax.ShapeDtypeStruct((), jnp.float32, sharding=whole),
    )


def _arguments(plan: StepPlan, images, labels, mask, at: int, temperature: float):
    """A step's inputs on the devices."""
    scalars = (np.int32(at), np.float32(temperature))
    return (
        *(put_rows(plan.mesh, rows) for rows in (images, labels, mask)),
        *put_replicated(plan.mesh, scalars),
    )
