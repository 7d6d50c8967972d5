"""All members in one program: what accelerators want.

Leaves of the state lead with an axis of members, over which the step is vmapped or
written out (unrolled), on one device or cut over a mesh with `shard_map`. Members that
stopped go on costing time until they are half of what is there: then the others are
packed into a smaller population, so that waste is bounded and so are compilations.
"""

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jaxbench.training.data import ImageStream
from jaxbench.training.inputs import Batches
from jaxbench.training.loop import LoopRunner
from jaxbench.training.specs import MemberState, Shared, StepSpec
from jaxbench.training.steps import evaluated_variables, gradient, start, whole_step
from jaxbench.training.tasks import Task, default_device, tree_bytes

# Steps of one call on accelerators: enough to hide the dispatch, few enough that an
# interrupt is heeded soon.
STEPS_PER_CALL = 32


class StackedRunner:
    """All members in one program.

    Args:
        task: What to do.
        mesh: Devices to cut the members over, on one axis or several; the population
            is padded to a multiple of their number with copies of its last member.
            One device when None.
        steps_per_call: Steps that one call runs, in a `scan` where more than one; None
            takes 1 on CPUs and `STEPS_PER_CALL` elsewhere.
        unroll: Whether the members are written out one after the other in the program
            instead of vmapped.
    """

    def __init__(
        self,
        task: Task,
        mesh: Mesh | None,
        steps_per_call: int | None = None,
        *,
        unroll: bool = False,
    ) -> None:
        self._task, self._mesh, self._unroll = task, mesh, unroll
        self.strategy = "unroll" if unroll else "vmap"
        default = 1 if jax.default_backend() == "cpu" else STEPS_PER_CALL
        # As few calls as the limit allows, of equal length: less than one step in
        # `steps_per_call` is skipped at the end of the last.
        longest = min(task.steps_per_epoch, task.longest_run)
        calls = -(-longest // (steps_per_call or default))
        self._steps = -(-longest // calls)
        if mesh is None:
            whole = split = default_device()
        else:
            whole = NamedSharding(mesh, PartitionSpec())
            split = NamedSharding(mesh, _members_axis(mesh))
        self._put = partial(jax.device_put, device=whole)
        self._put_members = partial(jax.device_put, device=split)
        self._images = None
        if not task.streamed:
            labels = task.data.labels.astype(np.int32)
            self._images = self._put((task.data.images, labels))  # pyright: ignore[reportAttributeAccessIssue]
        self.compile_seconds = self.program_seconds = 0.0
        self.memory_bytes: int | None = None
        # Host copy of all members' states, taken when some of them stopped. Those are
        # read from there, whatever their rows go on to compute.
        self._shelf: MemberState | None = None
        self._stopped: set[int] = set()
        self._orders: tuple[int, Batches] | None = None
        self._begin()

    _compiled = LoopRunner._compiled

    def _begin(self) -> None:
        members = range(len(self._task.members))
        variables = [self._task.initial(m) for m in self._task.members]
        _, _, frozen = self._task.spec.split(variables[0])
        self._shared = self._put(Shared(frozen, self._task.teacher_variables))
        self._occupy(members)
        stacked = self._put_members(_stack(variables[row] for row in self._rows))
        begin = self._compiled(start_members, (self._task.spec, self._mesh), (stacked,))
        self._live: MemberState = begin(stacked)
        self.optimizer_bytes = tree_bytes(self._live.optimizer) // len(self._rows)
        self._compile_step()

    def _occupy(self, members: Sequence[int]) -> None:
        """Says which member is in which row; the last fill up what the mesh asks."""
        self._rows = _padded(members, self._mesh)
        scalars = (self._task.scalars(self._task.members[row]) for row in self._rows)
        self._scalars = self._put_members(_stack(scalars))
        self._orders = None

    def _compile_step(self) -> None:
        batches = self._empty_batches() if self._task.streamed else self._resident(0)
        self._advance = self._compiled(
            advance_members,
            (self._task.spec, self._mesh, self._steps, self._unroll),
            self._arguments(batches, self._put(self._task.horizon(0)), 0, 1),
            donate=(0,),
        )
        self._pick = self._compiled(
            pick_member,
            (self._task.spec, self._mesh),
            (self._live, self._scalars, self._put(np.int32(0))),
        )

    # -- states ------------------------------------------------------------------

    @property
    def state(self) -> MemberState:
        """See `Runner`: of all members, packed away ones too; on the host."""
        live = jax.device_get(self._live)
        kept = self._shelf
        if kept is None:
            count = len(self._task.members)
            return jax.tree.map(lambda leaf: leaf[:count], live)
        members, rows = self._live_members()

        def merge(old, new):
            merged = np.array(old)
            merged[members] = new[rows]
            return merged

        return jax.tree.map(merge, kept, live)

    def _live_members(self) -> tuple[list[int], list[int]]:
        """Members that are still trained, and the row of each."""
        members = sorted(set(self._rows) - self._stopped)
        return members, [self._rows.index(member) for member in members]

    @state.setter
    def state(self, kept: MemberState) -> None:
        self._shelf = None
        self._stopped = set()
        self._occupy(range(len(self._task.members)))
        self._load(kept)
        self._compile_step()

    def _load(self, kept: MemberState) -> None:
        rows = np.array(self._rows)
        self._live = self._put_members(
            jax.tree.map(lambda leaf: np.asarray(leaf)[rows], kept)
        )

    def _repack(self, active: Sequence[int]) -> None:
        """Puts aside who stopped; makes the population smaller where half of it did."""
        stopped = set(self._rows) - set(active) - self._stopped
        if stopped:
            self._shelf = self.state
            self._stopped |= stopped
        if 2 * len(_padded(active, self._mesh)) > len(self._rows):
            return
        self._shelf = self.state
        self._stopped = set()
        self._occupy(active)
        self._load(self._shelf)
        self._compile_step()

    # -- batches -----------------------------------------------------------------

    def _resident(self, epoch: int) -> Batches:
        if self._orders is None or self._orders[0] != epoch:
            members = [self._task.members[row] for row in self._rows]
            rows = np.stack([self._task.rows(member, epoch) for member in members])
            first = self._put(np.int32(epoch * self._task.steps_per_epoch))
            assert self._images is not None
            images, labels = self._images
            batches = Batches(images, labels, self._put_members(rows), first)
            self._orders = (epoch, batches)
        return self._orders[1]

    def _empty_batches(self) -> Batches:
        count = self._steps * self._task.recipe.batch_size
        images = np.zeros((count, *self._task.data.size, 3), np.uint8)
        return self._chunk(0, images, np.zeros(count, np.int32))

    def _chunk(self, step: int, images: np.ndarray, labels: np.ndarray) -> Batches:
        """The next steps of a stream; what fills up the last chunk is never read."""
        rows = np.arange(len(labels), dtype=np.int32).reshape(self._steps, -1)
        rows = np.broadcast_to(rows, (len(self._rows), *rows.shape))
        pixels, classes, first = self._put((images, labels, np.int32(step)))
        return Batches(pixels, classes, self._put_members(rows), first)

    def _chunks(self, start: int, stop: int) -> Iterator[tuple[int, Batches]]:
        data, size = self._task.data, self._task.recipe.batch_size
        assert isinstance(data, ImageStream)
        found = data.batches(self._task.streamed_rows(start, stop))
        for at in range(start, stop, self._steps):
            count = min(self._steps, stop - at)
            pairs = [next(found) for _ in range(count)]
            pairs += [pairs[-1]] * (self._steps - count)
            images, labels = zip(*pairs, strict=True)
            assert len(labels[0]) == size
            yield at, self._chunk(at, np.concatenate(images), np.concatenate(labels))

    # -- training ----------------------------------------------------------------

    def _arguments(self, batches, horizon, first: int, stop: int) -> tuple[Any, ...]:
        limits = self._put((np.int32(first), np.int32(stop)))
        return (self._live, batches, self._shared, self._scalars, horizon, *limits)

    def run(self, start: int, stop: int, active: Sequence[int]) -> None:
        """See `Runner`; see the module for what members that stopped cost."""
        self._repack(active)
        horizon = self._put(self._task.horizon(start))
        for begin, end in self._task.pieces(start, stop):
            if self._task.streamed:
                calls = self._chunks(begin, end)
            else:
                batches = self._resident(begin // self._task.steps_per_epoch)
                calls = ((at, batches) for at in range(begin, end, self._steps))
            for at, batches in calls:
                arguments = self._arguments(batches, horizon, at, end)
                self._live = self._advance(*arguments)
        jax.block_until_ready(self._live)

    def progress(self) -> tuple[np.ndarray, np.ndarray]:
        """See `Runner`."""
        pair = (self._live.diverged_step, self._live.loss_sum)
        diverged, losses = jax.device_get(pair)
        members, rows = self._live_members()
        if self._shelf is None:
            return np.array(diverged[rows]), np.array(losses[rows])
        all_diverged = np.array(self._shelf.diverged_step)
        all_losses = np.array(self._shelf.loss_sum)
        all_diverged[members], all_losses[members] = diverged[rows], losses[rows]
        return all_diverged, all_losses

    def variables(self, member: int) -> dict[str, jax.Array]:
        """See `Runner`."""
        if member in self._rows and member not in self._stopped:
            row = self._rows.index(member)
            picked = self._pick(self._live, self._scalars, self._put(np.int32(row)))
            found = {name: leaf.addressable_data(0) for name, leaf in picked.items()}
        else:
            found = self._shelved(member)
        if self._task.renews_statistics:
            found = self._with_new_statistics(member, found)
        frozen = self._shared.frozen.items()
        return {**found, **{n: leaf.addressable_data(0) for n, leaf in frozen}}

    def _shelved(self, member: int) -> dict[str, jax.Array]:
        """Of a member that stopped."""
        put = partial(jax.device_put, device=default_device())
        state = put(jax.tree.map(lambda leaf: leaf[member], self._shelf))
        scalars = put(self._task.scalars(self._task.members[member]))
        static, arguments = (self._task.spec,), (state, scalars)
        return self._compiled(evaluated_variables, static, arguments)(*arguments)

    def _with_new_statistics(self, member: int, found: dict) -> dict:
        """Statistics of training images under the parameters that are evaluated."""
        task, put = self._task, partial(jax.device_put, device=default_device())
        wanted = task.spec.split(found | self._shared.frozen)
        trained, statistics, _ = (put(group) for group in wanted)
        assert self._images is not None
        pixels, labels = (put(leaf.addressable_data(0)) for leaf in self._images)
        scalars = put(task.scalars(task.members[member]))
        shared = put(jax.tree.map(lambda leaf: leaf.addressable_data(0), self._shared))
        for step, rows, first in task.statistics_batches(task.members[member]):
            at, rows, first = put((step, rows, first))
            batches = Batches(pixels, labels, rows, first)
            half = (trained, statistics, at, batches, shared)
            half = (*half, scalars.seed, scalars.label_smoothing)
            program = self._compiled(gradient, (task.spec.gradient,), half)
            statistics = program(*half).statistics
        return {**trained, **statistics}


def _padded(members: Sequence[int], mesh: Mesh | None) -> list[int]:
    """Members, the last repeated until every device has the same number."""
    members = list(members)
    return members + members[-1:] * (-len(members) % (mesh.size if mesh else 1))


def _stack(trees: Any) -> Any:
    return jax.tree.map(lambda *leaves: np.stack(leaves), *trees)


def _members_axis(mesh: Mesh) -> PartitionSpec:
    """The leading axis cut over every axis of the mesh."""
    return PartitionSpec(mesh.axis_names)


def _over_members(function, mesh: Mesh | None, in_axes: tuple[Any, ...]):
    """Runs each device's own members, without any communication.

    Automatic sharding of a vmapped convolution gives wrong numbers (jax 0.10 to 0.12);
    inside `shard_map` the partitioner has nothing to decide.
    """
    if mesh is None:
        return function
    members, whole = _members_axis(mesh), PartitionSpec()
    specs = jax.tree.map(lambda cut: members if cut else whole, in_axes)
    return jax.shard_map(
        function, mesh=mesh, in_specs=specs, out_specs=members, check_vma=False
    )


def start_members(spec: StepSpec, mesh: Mesh | None, variables: Any) -> MemberState:
    """`start` for stacked variables, leaves leading with the members' axis."""
    return _over_members(jax.vmap(partial(start, spec)), mesh, (True,))(variables)


# Which arguments of `advance_members` lead with the members' axis.
_CUT_BATCHES = Batches(False, False, True, False)  # pyright: ignore[reportArgumentType]
_CUT = (True, _CUT_BATCHES, False, True, False, False, False)


def advance_members(
    spec: StepSpec, mesh: Mesh | None, steps: int, unroll: bool, *arguments: Any
) -> MemberState:
    """`steps` steps of every member; those at or after `stop` are left out.

    Args:
        spec: The step.
        mesh: Devices that share the members.
        steps: How many, 1 for a program without a loop.
        unroll: Whether members are written out instead of vmapped.
        *arguments: State, batches (rows [members, steps, batch]), shared arrays,
            scalars, horizon, and the steps to begin with and to stop before.
    """
    local = partial(_advance, spec, steps, unroll)
    return _over_members(local, mesh, _CUT)(*arguments)


def _advance(spec, steps, unroll, state, batches, shared, scalars, horizon, at, stop):
    over = _unrolled if unroll else jax.vmap
    mapped = over(
        partial(whole_step, spec),
        in_axes=(None, 0, Batches(None, None, 0, None), None, 0, None),  # pyright: ignore[reportArgumentType]
    )
    every = spec.update.optimizer.curvature_every or 1

    def step(state, now):
        return mapped(now % every == 0, state, batches, shared, scalars, horizon)

    if steps == 1:
        return step(state, at)

    def body(state, offset):
        now = at + offset
        return jax.lax.cond(now < stop, step, lambda s, _: s, state, now), None

    return jax.lax.scan(body, state, jnp.arange(steps, dtype=jnp.int32))[0]


def _unrolled(function, in_axes):
    """`jax.vmap`, with the function written out for every index."""

    def one(index: int, axes: Any, argument: Any) -> Any:
        if axes is None:
            return argument
        if axes == 0:
            return jax.tree.map(lambda leaf: leaf[index], argument)
        parts = zip(axes, argument, strict=True)
        return type(argument)(*(one(index, axis, part) for axis, part in parts))

    def mapped(*arguments: Any) -> Any:
        count = len(jax.tree.leaves(arguments[in_axes.index(0)])[0])
        results = [
            function(*(one(i, a, x) for a, x in zip(in_axes, arguments, strict=True)))
            for i in range(count)
        ]
        return jax.tree.map(lambda *leaves: jnp.stack(leaves), *results)

    return mapped


def pick_member(
    spec: StepSpec, mesh: Mesh | None, state: Any, scalars: Any, row: Any
) -> dict[str, Any]:
    """What one member is measured by, a copy on every device."""
    picked = jax.tree.map(
        lambda leaf: jax.lax.dynamic_index_in_dim(leaf, row, keepdims=False),
        (state, scalars),
    )
    found = evaluated_variables(spec, *picked)
    if mesh is None:
        return found
    whole = NamedSharding(mesh, PartitionSpec())
    return jax.lax.with_sharding_constraint(found, whole)
