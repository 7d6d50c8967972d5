"""The two ways to run a population: one compiled step in a loop, or one for all.

`LoopRunner` calls the step of one member again and again; `VmapRunner` maps it over the
members, cuts them over a mesh and puts several steps into one call. The numbers agree
to float32 rounding. On CPUs the loop wins: XLA runs a convolution that is vmapped over
its weights as a slow grouped convolution, and the weight gradient of one inside `scan`
about 60 times slower than outside.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec, SingleDeviceSharding

from jaxbench.engine.programs import compiled
from jaxbench.training.members import (
    HyperParameters,
    epoch_order,
    initial_variables,
    member_scalars,
)
from jaxbench.training.steps import (
    Gradient,
    Horizon,
    Images,
    MemberState,
    StepSpec,
    gradient,
    start,
    update,
    whole_step,
)


@dataclass(frozen=True)
class Task:
    """What a runner is to do.

    Attributes:
        spec: The step.
        members: Hyper-parameters of each member.
        data: The training set, on the host.
        horizon: Lengths for the schedule.
        batch_size: Images of a step.
    """

    spec: StepSpec
    members: tuple[HyperParameters, ...]
    data: Images
    horizon: Horizon
    batch_size: int

    @property
    def steps_per_epoch(self) -> int:
        """Full batches in the training set."""
        return len(self.data.labels) // self.batch_size

    def order(self, member: HyperParameters, epoch: int) -> np.ndarray:
        """The member's batches of an epoch, int32 [steps, batch]."""
        return epoch_order(
            member.seed,
            epoch,
            num_images=len(self.data.labels),
            batch_size=self.batch_size,
        )

    def initial(self, member: HyperParameters) -> dict[str, np.ndarray]:
        """The member's variables before the first step."""
        return initial_variables(self.spec.gradient.classifier, member.seed)


@runtime_checkable
class Runner(Protocol):
    """A population at work.

    Attributes:
        state: Of all members; what a checkpoint has to keep.
        compile_seconds: What making the runner spent on compilation.
    """

    state: Any
    compile_seconds: float

    def run_epoch(self, epoch: int, active: Sequence[int]) -> None:
        """Trains the active members for an epoch and waits for the last step."""
        ...

    def progress(self) -> tuple[np.ndarray, np.ndarray]:
        """`diverged_step` and `loss_sum` of every member, fetched."""
        ...

    def variables(self, member: int) -> dict[str, jax.Array]:
        """The member's parameters and statistics, valid until the next epoch."""
        ...


class LoopRunner:
    """Members one by one, each step two calls: gradient and update.

    Two programs and not one, because the gradient is most of what there is to compile
    and all optimizers of a classifier then share it.
    """

    def __init__(self, task: Task) -> None:
        self._task = task
        # Committed, as restored states are: a program accepts one placement only.
        device = _default_device()
        self._put = partial(jax.device_put, device=device)
        self._data = self._put(task.data)
        self._horizon = self._put(task.horizon)
        self._scalars = [self._put(member_scalars(m)) for m in task.members]
        self.compile_seconds = 0.0
        first = self._put(task.initial(task.members[0]))
        begin = self._compiled(start, (task.spec,), (first,))
        self.state: list[MemberState] = [
            begin(self._put(task.initial(member))) for member in task.members
        ]
        order = self._put(task.order(task.members[0], 0))
        state, scalars = self.state[0], self._scalars[0]
        half = (state.parameters, state.statistics, state.step, self._data, order)
        self._gradient = self._compiled(
            gradient, (task.spec.gradient,), (*half, scalars.seed)
        )
        # Loss and gradient have the shapes of what they belong to.
        found = Gradient(state.loss_sum, state.parameters, state.statistics)
        self._update = self._compiled(
            update,
            (task.spec.update, task.steps_per_epoch),
            (state, found, scalars, self._horizon),
            donate=(0,),
        )

    def _compiled(self, function, static, arguments, donate=()):
        program, seconds = compiled(function, static, arguments, donate=donate)
        self.compile_seconds += seconds
        return program.call

    def run_epoch(self, epoch: int, active: Sequence[int]) -> None:
        """See `Runner`."""
        for member in active:
            order = self._put(self._task.order(self._task.members[member], epoch))
            scalars, state = self._scalars[member], self.state[member]
            for _ in range(self._task.steps_per_epoch):
                found = self._gradient(
                    state.parameters,
                    state.statistics,
                    state.step,
                    self._data,
                    order,
                    scalars.seed,
                )
                state = self._update(state, found, scalars, self._horizon)
            self.state[member] = state
        jax.block_until_ready(self.state)

    def progress(self) -> tuple[np.ndarray, np.ndarray]:
        """See `Runner`."""
        pairs = [(state.diverged_step, state.loss_sum) for state in self.state]
        diverged, losses = zip(*jax.device_get(pairs), strict=True)
        return np.array(diverged), np.array(losses)

    def variables(self, member: int) -> dict[str, jax.Array]:
        """See `Runner`."""
        return {**self.state[member].parameters, **self.state[member].statistics}


class VmapRunner:
    """All members in one program, on one device or cut over a mesh.

    Args:
        task: What to do.
        mesh: Devices to cut the members over, on one axis or several; the population
            is padded to a multiple of their number with copies of its last member.
            One device when None.
        steps_per_call: Steps that one call runs, in a `scan` where more than one.
    """

    def __init__(self, task: Task, mesh: Mesh | None, steps_per_call: int) -> None:
        self._task = task
        self._mesh = mesh
        padding = -len(task.members) % (mesh.size if mesh else 1)
        self._members = task.members + task.members[-1:] * padding
        # As few calls as the limit allows, of equal length: less than one step in
        # `steps_per_call` is skipped at the end of the last.
        self._calls = -(-task.steps_per_epoch // steps_per_call)
        self._steps = -(-task.steps_per_epoch // self._calls)
        if mesh is None:
            whole = split = _default_device()
        else:
            whole = NamedSharding(mesh, PartitionSpec())
            split = NamedSharding(mesh, _members_axis(mesh))
        self._put = partial(jax.device_put, device=whole)
        self._put_members = partial(jax.device_put, device=split)
        self._data = self._put(task.data)
        self._horizon = self._put(task.horizon)
        self._scalars = self._put_members(_stack(map(member_scalars, self._members)))
        self.compile_seconds = 0.0
        variables = self._put_members(_stack(map(task.initial, self._members)))
        begin = self._compiled(start_members, (task.spec, mesh), (variables,))
        self.state: MemberState = begin(variables)
        self._advance = self._compiled(
            advance_members,
            (task.spec, mesh, self._steps),
            self._arguments(self._orders(0), 0),
            donate=(0,),
        )
        self._pick = self._compiled(
            pick_member, (mesh,), (self._all_variables(), self._put(np.int32(0)))
        )

    _compiled = LoopRunner._compiled

    def _orders(self, epoch: int) -> jax.Array:
        orders = [self._task.order(member, epoch) for member in self._members]
        return self._put_members(np.stack(orders))

    def _arguments(self, orders: jax.Array, first: int) -> tuple[Any, ...]:
        at = self._put(np.int32(first))
        return self.state, self._data, orders, self._scalars, self._horizon, at

    def _all_variables(self) -> dict[str, jax.Array]:
        return {**self.state.parameters, **self.state.statistics}

    def run_epoch(self, epoch: int, active: Sequence[int]) -> None:
        """See `Runner`; members that are not active cost as much as the others."""
        del active
        orders = self._orders(epoch)
        for call in range(self._calls):
            arguments = self._arguments(orders, call * self._steps)
            self.state = self._advance(*arguments)
        jax.block_until_ready(self.state)

    def progress(self) -> tuple[np.ndarray, np.ndarray]:
        """See `Runner`."""
        count = len(self._task.members)
        diverged, losses = jax.device_get(
            (self.state.diverged_step, self.state.loss_sum)
        )
        return np.array(diverged[:count]), np.array(losses[:count])

    def variables(self, member: int) -> dict[str, jax.Array]:
        """See `Runner`."""
        picked = self._pick(self._all_variables(), self._put(np.int32(member)))
        return {name: leaf.addressable_data(0) for name, leaf in picked.items()}


def _default_device() -> SingleDeviceSharding:
    """Where JAX puts an array that nobody placed, as a commitment."""
    return SingleDeviceSharding(jnp.zeros(()).devices().pop())


def _stack(trees: Any) -> Any:
    return jax.tree.map(lambda *leaves: np.stack(leaves), *trees)


def _members_axis(mesh: Mesh) -> PartitionSpec:
    """The leading axis cut over every axis of the mesh."""
    return PartitionSpec(mesh.axis_names)


def _over_members(function, mesh: Mesh | None, in_axes: tuple[bool, ...]):
    """Runs each device's own members, without any communication.

    Automatic sharding of a vmapped convolution gives wrong numbers (jax 0.10 to 0.12);
    inside `shard_map` the partitioner has nothing to decide.
    """
    if mesh is None:
        return function
    members, whole = _members_axis(mesh), PartitionSpec()
    specs = tuple(members if cut else whole for cut in in_axes)
    return jax.shard_map(
        function, mesh=mesh, in_specs=specs, out_specs=members, check_vma=False
    )


def start_members(spec: StepSpec, mesh: Mesh | None, variables: Any) -> MemberState:
    """`start` for stacked variables, leaves leading with the members' axis."""
    return _over_members(jax.vmap(partial(start, spec)), mesh, (True,))(variables)


def advance_members(
    spec: StepSpec, mesh: Mesh | None, steps: int, *arguments: Any
) -> MemberState:
    """`steps` steps of every member; those past the end of the epoch are left out.

    Args:
        spec: The step.
        mesh: Devices that share the members.
        steps: How many, 1 for a program without a loop.
        *arguments: State, images, orders [members, steps, batch], scalars, horizon, and
            the position in the epoch of the call's first step.
    """
    cut = (True, False, True, True, False, False)
    return _over_members(partial(_advance, spec, steps), mesh, cut)(*arguments)


def _advance(spec: StepSpec, steps, state, data, orders, scalars, horizon, first):
    mapped = jax.vmap(partial(whole_step, spec), in_axes=(0, None, 0, 0, None))

    def step(state):
        return mapped(state, data, orders, scalars, horizon)

    if steps == 1:
        return step(state)

    def body(state, offset):
        within = first + offset < orders.shape[1]
        return jax.lax.cond(within, step, lambda state: state, state), None

    return jax.lax.scan(body, state, jnp.arange(steps, dtype=jnp.int32))[0]


def pick_member(mesh: Mesh | None, stacked: Any, member: Any) -> Any:
    """One member's leaves, a copy on every device."""
    picked = jax.tree.map(
        lambda leaf: jax.lax.dynamic_index_in_dim(leaf, member, keepdims=False), stacked
    )
    if mesh is None:
        return picked
    whole = NamedSharding(mesh, PartitionSpec())
    return jax.lax.with_sharding_constraint(picked, whole)
