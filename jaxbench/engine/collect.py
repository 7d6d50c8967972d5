"""From rows on the devices to per-example columns on the host, in example order."""

import jax
import numpy as np

from jaxbench.engine.mesh import local_rows, start_fetch


class Collector:
    """Gathers what the steps leave behind, a large piece at a time.

    Rows come back as [steps, rows of this process]; only valid ones are kept. On
    several processes the pieces are put together at the end, so that every process
    holds every example.
    """

    def __init__(self) -> None:
        self._pending: list[tuple[dict[str, jax.Array], int]] = []
        self._blocks: list[dict[str, np.ndarray]] = []
        self._extra: dict[str, list[jax.Array | np.ndarray]] = {}
        self._host: dict[str, list[np.ndarray]] = {}

    def add_host(self, **columns: np.ndarray) -> None:
        """Notes what the host knows of a step's rows: `id` and `mask` at least."""
        for name, column in columns.items():
            self._host.setdefault(name, []).append(column)

    def add_extra(self, **arrays: jax.Array | None) -> None:
        """Notes logits or features of a step, [rows, width], if there are any."""
        for name, array in arrays.items():
            if array is None:
                continue
            kept = self._extra.setdefault(name, [])
            start_fetch(array)
            # One step late, so that the copy overlaps with the next step.
            if kept:
                kept[-1] = _fetched(kept[-1])
            kept.append(array)

    def add_rows(self, rows: dict[str, jax.Array], steps: int) -> None:
        """Takes over a full buffer, or a part of the last one.

        Args:
            rows: Column name to [STEPS_PER_FETCH, batch]; not to be donated again.
            steps: How many leading steps of it were written.
        """
        for column in rows.values():
            start_fetch(column)
        # The piece before has had a whole buffer's time to arrive.
        self._fetch()
        self._pending.append((rows, steps))

    def _fetch(self) -> None:
        for rows, steps in self._pending:
            self._blocks.append(
                {name: local_rows(column, 1)[:steps] for name, column in rows.items()}
            )
        self._pending.clear()

    def finish(self) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
        """Ends the pass.

        Returns:
            Columns of the valid examples in the dataset's order, each [n], with `id`
            and `label` among them; and the extra arrays, each [n, width].
        """
        self._fetch()
        steps = {
            name: np.concatenate([block[name] for block in self._blocks])
            for name in (self._blocks[0] if self._blocks else ())
        }
        steps |= {name: np.stack(parts) for name, parts in self._host.items()}
        extra = {
            name: np.stack([_fetched(part) for part in parts])
            for name, parts in self._extra.items()
        }
        if jax.process_count() > 1:
            steps, extra = _all_processes(steps), _all_processes(extra)
        mask = steps.pop("mask").reshape(-1)
        columns = {name: column.reshape(-1)[mask] for name, column in steps.items()}
        return columns, {
            name: array.reshape(-1, *array.shape[2:])[mask]
            for name, array in extra.items()
        }


def _fetched(rows: jax.Array | np.ndarray) -> np.ndarray:
    return local_rows(rows, 0) if isinstance(rows, jax.Array) else rows


def _all_processes(steps: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Puts every process's [steps, rows, ...] side by side, in process order."""
    from jax.experimental import multihost_utils

    encoded = dict(steps)
    if "id" in steps:
        encoded["id"] = _encode(steps["id"], multihost_utils)
    gathered = {
        name: np.asarray(multihost_utils.process_allgather(array))
        for name, array in encoded.items()
    }
    joined = {
        name: np.concatenate(list(array), axis=1) for name, array in gathered.items()
    }
    if "id" in steps:
        joined["id"] = _decode(joined["id"])
    return joined


def _encode(ids: np.ndarray, multihost_utils) -> np.ndarray:
    """[steps, rows] strings as [steps, rows, width] bytes, padded to the widest."""
    raw = [[text.encode() for text in row] for row in ids]
    longest = max((len(text) for row in raw for text in row), default=0)
    widths = multihost_utils.process_allgather(np.asarray(longest))
    width = max(1, int(np.max(widths)))
    joined = b"".join(text.ljust(width, b"\0") for row in raw for text in row)
    return np.frombuffer(joined, np.uint8).reshape(*ids.shape, width)


def _decode(codes: np.ndarray) -> np.ndarray:
    texts = [
        bytes(row).rstrip(b"\0").decode() for row in codes.reshape(-1, codes.shape[-1])
    ]
    return np.asarray(texts, dtype=object).reshape(codes.shape[:2])
