"""A program for one member, called for each: what runs fastest on CPUs.

XLA runs a convolution that is vmapped over its weights as a slow grouped convolution
there, and the weight gradient of one inside `scan` about 60 times slower than outside.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import jax
import numpy as np

from jaxbench.data.batches import default_num_threads
from jaxbench.engine.programs import compiled
from jaxbench.training.data import ImageStream
from jaxbench.training.inputs import Batches
from jaxbench.training.specs import Gradient, MemberState, Shared
from jaxbench.training.steps import evaluated_variables, gradient, start, update
from jaxbench.training.tasks import Task, default_device, tree_bytes


class LoopRunner:
    """Members side by side in threads, each step two calls: gradient and update.

    Two programs and not one, because the gradient is most of what there is to compile
    and all optimizers of a classifier then share it. Both are for one member, so they
    serve populations of any size.
    """

    strategy = "loop"

    def __init__(self, task: Task) -> None:
        self._task = task
        # Committed, as restored states are: a program accepts one placement only.
        self._put = partial(jax.device_put, device=default_device())
        self._scalars = [self._put(task.scalars(m)) for m in task.members]
        self._horizon = self._put(task.horizon(0))
        self._images = None if task.streamed else self._put(_images(task))
        self._batches: dict[int, tuple[int, Batches]] = {}
        self._curvature: dict[int, dict[str, Any]] = {}
        # Programs of small networks leave cores idle; accelerators queue what they get.
        on_cpu = jax.default_backend() == "cpu"
        self._num_threads = default_num_threads() if on_cpu else 1
        self.compile_seconds = self.program_seconds = 0.0
        self.memory_bytes: int | None = None
        first = task.initial(task.members[0])
        _, _, frozen = task.spec.split(first)
        self._shared = self._put(Shared(frozen, task.teacher_variables))
        begin = self._compiled(start, (task.spec,), (self._put(first),))
        self._state: list[MemberState] = [
            begin(self._put(task.initial(member))) for member in task.members
        ]
        self.optimizer_bytes = tree_bytes(self._state[0].optimizer)
        self._compile_step()

    def _compile_step(self) -> None:
        spec, scalars = self._task.spec, self._scalars[0]
        half = self._half(0, self._first_batches())
        self._gradient = self._compiled(gradient, (spec.gradient,), half)
        self._curved = self._gradient
        curvature = {}
        state = self._state[0]
        if spec.update.optimizer.curvature_every:
            self._curved = self._compiled(gradient, (spec.curved,), half)
            curvature = state.parameters
        # Loss and gradient have the shapes of what they belong to.
        found = Gradient(state.loss_sum, state.parameters, state.statistics, curvature)
        arguments = (state, found, scalars, self._horizon)
        self._update = self._compiled(update, (spec.update,), arguments, donate=(0,))
        self._evaluated = None
        if spec.update.optimizer.evaluated and not spec.update.averages:
            self._evaluated = self._compiled(
                evaluated_variables, (spec,), (state, scalars)
            )

    def _compiled(self, function, static, arguments, donate=()):
        program, seconds = compiled(function, static, arguments, donate=donate)
        self.compile_seconds += seconds
        self.program_seconds += program.compile_seconds
        sizes = (self.memory_bytes, program.memory_bytes)
        self.memory_bytes = max((s for s in sizes if s is not None), default=None)
        return program.call

    @property
    def state(self) -> Any:
        """See `Runner`."""
        return self._state

    @state.setter
    def state(self, kept: Any) -> None:
        self._state = [self._put(state) for state in kept]

    # -- batches -----------------------------------------------------------------

    def _first_batches(self) -> Batches:
        """Batches of the shapes that all will have."""
        if not self._task.streamed:
            return self._resident(0, 0)
        shape = (self._task.recipe.batch_size, *self._task.data.size, 3)
        return self._streamed_batches(
            0, np.zeros(shape, np.uint8), np.zeros(shape[0], np.int32)
        )

    def _resident(self, member: int, epoch: int) -> Batches:
        """The member's epoch, put on the device once."""
        if self._batches.get(member, (None,))[0] != epoch:
            rows = self._task.rows(self._task.members[member], epoch)
            first = np.int32(epoch * self._task.steps_per_epoch)
            assert self._images is not None
            batches = Batches(*self._images, *self._put((rows, first)))
            self._batches[member] = (epoch, batches)
        return self._batches[member][1]

    def _streamed_batches(self, step: int, images, labels) -> Batches:
        rows = np.arange(len(labels), dtype=np.int32)[None]
        return Batches(*self._put((images, labels, rows, np.int32(step))))

    def _stream(self, start: int, stop: int) -> Iterator[tuple[int, Batches]]:
        data = self._task.data
        assert isinstance(data, ImageStream)
        found = data.batches(self._task.streamed_rows(start, stop))
        for step, (images, labels) in enumerate(found, start=start):
            yield step, self._streamed_batches(step, images, labels)

    # -- training ----------------------------------------------------------------

    def run(self, start: int, stop: int, active: Sequence[int]) -> None:
        """See `Runner`."""
        self._horizon = self._put(self._task.horizon(start))
        with _Side(min(self._num_threads, len(active))) as side:
            for begin, end in self._task.pieces(start, stop):
                if not self._task.streamed:
                    side.each(active, partial(self._advance_all, begin, end, side))
                    continue
                for step, batches in self._stream(begin, end):
                    side.each(active, partial(self._advance, step, batches))
        jax.block_until_ready(self._state)

    def _advance_all(self, begin: int, end: int, side: "_Side", member: int) -> None:
        """A member's steps of one epoch."""
        batches = self._resident(member, begin // self._task.steps_per_epoch)
        for step in range(begin, end):
            if side.stopping:
                return
            self._advance(step, batches, member)

    def _half(self, member: int, batches: Batches) -> tuple[Any, ...]:
        state, scalars = self._state[member], self._scalars[member]
        return (
            state.parameters,
            state.statistics,
            state.step,
            batches,
            self._shared,
            scalars.seed,
            scalars.label_smoothing,
        )

    def _advance(self, step: int, batches: Batches, member: int) -> None:
        every = self._task.spec.update.optimizer.curvature_every
        half = self._half(member, batches)
        if every is None:
            found = self._gradient(*half)
        elif step % every == 0:
            found = self._curved(*half)
            self._curvature[member] = found.curvature
        else:
            found = self._gradient(*half)
            # Not looked at in this step; only its shapes are needed.
            stale = self._curvature.get(member, found.gradient)
            found = found._replace(curvature=stale)
        self._state[member] = self._update(
            self._state[member], found, self._scalars[member], self._horizon
        )

    def progress(self) -> tuple[np.ndarray, np.ndarray]:
        """See `Runner`."""
        pairs = [(state.diverged_step, state.loss_sum) for state in self._state]
        diverged, losses = zip(*jax.device_get(pairs), strict=True)
        return np.array(diverged), np.array(losses)

    def variables(self, member: int) -> dict[str, jax.Array]:
        """See `Runner`."""
        state = self._state[member]
        if self._evaluated is not None:
            found = self._evaluated(state, self._scalars[member])
            if self._task.renews_statistics:
                found = self._with_new_statistics(member, found)
        else:
            found = state.average or {**state.parameters, **state.statistics}
        return {**found, **self._shared.frozen}

    def _with_new_statistics(self, member: int, found: dict) -> dict:
        """Statistics of training images under the parameters that are evaluated."""
        assert self._images is not None
        images, labels = self._images
        state, scalars = self._state[member], self._scalars[member]
        parameters = {name: found[name] for name in state.parameters}
        statistics = state.statistics
        own = self._task.members[member]
        for step, rows, first in self._task.statistics_batches(own):
            at, rows, first = self._put((step, rows, first))
            batches = Batches(images, labels, rows, first)
            half = (parameters, statistics, at, batches, self._shared)
            found_here = self._gradient(*half, scalars.seed, scalars.label_smoothing)
            statistics = found_here.statistics
        return {**parameters, **statistics}


class _Side:
    """Threads that train members side by side.

    Attributes:
        stopping: Whether whoever waits for them has given up, as after Ctrl-C.
    """

    def __init__(self, num_threads: int) -> None:
        self._pool = ThreadPoolExecutor(num_threads, thread_name_prefix="members")
        self.stopping = False

    def __enter__(self) -> "_Side":
        return self

    def __exit__(self, *_: object) -> None:
        self.stopping = True
        self._pool.shutdown(cancel_futures=True)

    def each(self, members: Sequence[int], work: Callable[[int], None]) -> None:
        """Does the work for every member and raises what one of them raised."""
        for done in [self._pool.submit(work, member) for member in members]:
            done.result()


def _images(task: Task) -> tuple[np.ndarray, np.ndarray]:
    images, labels = task.data.images, task.data.labels  # pyright: ignore[reportAttributeAccessIssue]
    return images, labels.astype(np.int32)
