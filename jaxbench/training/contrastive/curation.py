"""Which batches are used: a threshold on the distance of their two views.

arXiv 2403.19579 calls a batch bad if the Frechet distance of its two views' projections
is above a threshold. It says neither how the threshold is found nor what becomes of a
bad batch; both are options here. Everything is on the device: no batch waits for the
host to decide.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, get_args

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from jaxbench.errors import UserError, unknown_name

Method = Literal["none", "value", "quantile"]
OnReject = Literal["skip", "redraw"]


@dataclass(frozen=True)
class Curation:
    """How bad batches are recognised and what becomes of them.

    A *draw* is a batch of images with two views of each; it costs a forward pass.

    Attributes:
        method: "none" uses every draw. "value" rejects those above `max_distance`.
            "quantile" rejects those above a quantile of the draws before, used and
            rejected ones alike: without the rejected ones the threshold would fall
            until nothing passes.
        max_distance: For "value": the largest distance that passes. Its scale depends
            on the projections: see what a run with "none" records.
        quantile: For "quantile", in (0, 1): 0.9 rejects about every tenth draw.
            Interpolated linearly, as NumPy does.
        window: For "quantile": how many draws before count at most.
        warmup: Draws at the beginning that are used whatever their distance.
        on_reject: "skip" goes on to the next images; "redraw" draws new views of the
            same ones, and skips them if `max_redraws` new views are rejected too.
        max_redraws: For "redraw".
        measure: Whether the distance is measured where it decides nothing, with
            "none"; it costs a singular value decomposition for each draw.

    Raises:
        UserError: If a value is out of its range, or lacks or has no use; all such
            are named.
    """

    method: Method = "none"
    max_distance: float | None = None
    quantile: float | None = None
    window: int = 100
    warmup: int = 20
    on_reject: OnReject = "skip"
    max_redraws: int = 3
    measure: bool = True

    def __post_init__(self) -> None:
        if problems := list(self._problems()):
            raise UserError(f"curation: {'; '.join(problems)}")

    def _problems(self) -> Iterator[str]:
        if self.method not in get_args(Method):
            yield unknown_name("method", str(self.method), get_args(Method))
        if self.on_reject not in get_args(OnReject):
            yield unknown_name("on_reject", str(self.on_reject), get_args(OnReject))
        for name, method in (("max_distance", "value"), ("quantile", "quantile")):
            given = getattr(self, name) is not None
            if given != (self.method == method):
                verb = "has no use" if given else "is missing"
                yield f"{name} {verb} with method {self.method!r}"
        if self.max_distance is not None and not 0 < self.max_distance < np.inf:
            yield f"max_distance is {self.max_distance}, wanted a positive number"
        if self.quantile is not None and not 0 < self.quantile < 1:
            yield f"quantile is {self.quantile}, wanted a number between 0 and 1"
        counts = {"window": 2, "warmup": int(self.method == "quantile")}
        counts["max_redraws"] = 1
        for name, least in counts.items():
            if getattr(self, name) < least:
                yield f"{name} is {getattr(self, name)}, wanted {least} or more"
        if not self.measure and self.method != "none":
            yield f"measure is false, and method {self.method!r} needs the distance"

    def limits(self) -> "Limits":
        """What decides a draw, as arguments of the compiled step."""
        rejects = self.method != "none"
        redraws = self.max_redraws if self.on_reject == "redraw" and rejects else 0
        value = self.quantile if self.method == "quantile" else self.max_distance
        return Limits(
            np.float32(np.inf if value is None else value),  # pyright: ignore[reportArgumentType]
            np.int32(self.warmup if rejects else 0),  # pyright: ignore[reportArgumentType]
            np.int32(redraws),  # pyright: ignore[reportArgumentType]
        )

    def settings(self) -> dict[str, Any]:
        """What was asked for, without what has no use: for rows and digests."""
        found: dict[str, Any] = {"curation": self.method}
        if self.method == "none":
            return found | {"curation_measured": self.measure}
        found |= {"curation_on_reject": self.on_reject, "curation_warmup": self.warmup}
        if self.on_reject == "redraw":
            found["curation_max_redraws"] = self.max_redraws
        if self.method == "value":
            return found | {"curation_max_distance": self.max_distance}
        return found | {
            "curation_quantile": self.quantile,
            "curation_window": self.window,
        }


class Limits(NamedTuple):
    """The numbers of a `Curation` that ask for no compilation.

    Attributes:
        value: The largest distance, or the quantile; infinity with "none".
        warmup: Draws that are used whatever their distance.
        max_redraws: New views of rejected images; 0 skips them at once.
    """

    value: Float[Array, ""]
    warmup: Int[Array, ""]
    max_redraws: Int[Array, ""]


class CurationState(NamedTuple):
    """What is remembered from draw to draw.

    Attributes:
        distances: Of the latest draws, in a ring; NaN where nothing was drawn yet, or
            its distance is none.
        draws: Draws so far.
        updates: Of which were used.
        batch: Batches of images that are done with: the number of the present one.
        attempt: New views of the present one so far.
    """

    distances: Float[Array, " window"]
    draws: Int[Array, ""]
    updates: Int[Array, ""]
    batch: Int[Array, ""]
    attempt: Int[Array, ""]

    @classmethod
    def empty(cls, window: int) -> "CurationState":
        """Before the first draw."""
        # One array each: a state that is donated must not hold a buffer twice.
        counts = (np.zeros((), np.int32) for _ in range(4))
        return cls(np.full(window, np.nan, np.float32), *counts)  # pyright: ignore[reportArgumentType]


def decide(
    method: Method,
    limits: Limits,
    state: CurationState,
    distance: Float[Array, ""],
) -> tuple[Bool[Array, ""], Float[Array, ""], CurationState]:
    """Judges a draw, and goes on to the next.

    Args:
        method: See `Curation`.
        limits: Its numbers.
        state: Before the draw.
        distance: Of its two views. NaN passes, and no quantile sees it: a network that
            has diverged is not the batch's fault.

    Returns:
        Whether the draw is used; the threshold, infinity where there was none; and the
        state after it.
    """
    threshold = limits.value
    if method == "quantile":
        threshold = running_quantile(state.distances, limits.value)
    threshold = jnp.where(state.draws < limits.warmup, jnp.inf, threshold)
    used = ~(distance > threshold)
    again = ~used & (state.attempt < limits.max_redraws)
    place = state.draws % len(state.distances)
    return (
        used,
        threshold,
        CurationState(
            distances=state.distances.at[place].set(distance),
            draws=state.draws + 1,
            updates=state.updates + used.astype(jnp.int32),
            batch=state.batch + (~again).astype(jnp.int32),
            attempt=jnp.where(again, state.attempt + 1, 0),
        ),
    )


def running_quantile(
    distances: Float[Array, " window"], quantile: Float[Array, ""]
) -> Float[Array, ""]:
    """The quantile of what a ring holds, interpolated linearly.

    Args:
        distances: In any order, NaN in places that hold none.
        quantile: In [0, 1].

    Returns:
        Infinity of an empty ring: nothing is above it.
    """
    window = len(distances)
    count = (~jnp.isnan(distances)).sum()
    # NaN comes last.
    ordered = jnp.sort(distances)
    place = quantile * (count - 1).astype(jnp.float32)
    low = jnp.floor(place)
    # What lies between two ranks, in whole numbers, so that ranks never leave the ring.
    first = jnp.clip(low.astype(jnp.int32), 0, window - 1)
    second = jnp.minimum(first + 1, jnp.maximum(count - 1, 0))
    share = place - low
    below, above = ordered[first], ordered[second]
    # Where nothing lies between them inf - inf, or 0 * inf, would be NaN.
    between = (share > 0) & (above > below)
    found = jnp.where(between, below + share * (above - below), below)
    return jnp.where(count > 0, found, jnp.inf)
