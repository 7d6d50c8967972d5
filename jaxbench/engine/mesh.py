"""The data mesh: which devices share a batch, and who holds which rows."""

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

DATA_AXIS = "data"


def make_data_mesh(num_devices: int | None = None) -> Mesh:
    """Lays devices on one axis along which a batch is cut.

    Args:
        num_devices: How many of the devices to use; every device of every process
            when None.

    Returns:
        A mesh with the single axis `"data"`. The axis is of type Auto: with Explicit
        axes (the default of `jax.make_mesh`) `shard_map` refuses arrays that were not
        resharded first.

    Raises:
        ValueError: If there are fewer devices than asked for.
    """
    devices = jax.devices()
    if num_devices is not None:
        if not 1 <= num_devices <= len(devices):
            raise ValueError(
                f"num_devices is {num_devices}, this run has {len(devices)} "
                f"{devices[0].platform} devices; ask for 1 to {len(devices)}"
            )
        devices = devices[:num_devices]
    return jax.make_mesh(
        (len(devices),), (DATA_AXIS,), axis_types=(AxisType.Auto,), devices=devices
    )


def split_rows(mesh: Mesh) -> NamedSharding:
    """The leading axis cut over the devices."""
    return NamedSharding(mesh, PartitionSpec(DATA_AXIS))


def replicated(mesh: Mesh) -> NamedSharding:
    """A whole copy on every device."""
    return NamedSharding(mesh, PartitionSpec())


def process_share(mesh: Mesh) -> tuple[int, int]:
    """Which part of every batch this process reads.

    Returns:
        (index, count): this process feeds part `index` of `count` equal, contiguous
        parts. Devices are in process order in the mesh, so parts are too.

    Raises:
        ValueError: If the processes hold different numbers of the mesh's devices.
    """
    owners = [device.process_index for device in mesh.devices.flat]
    processes, counts = np.unique(owners, return_counts=True)
    if len(set(counts.tolist())) != 1 or owners != sorted(owners):
        held = dict(zip(processes.tolist(), counts.tolist(), strict=True))
        raise ValueError(
            f"the mesh has {held} devices per process; every process needs the same "
            "number, in process order"
        )
    return processes.tolist().index(jax.process_index()), len(processes)


def put_rows(mesh: Mesh, rows: np.ndarray) -> jax.Array:
    """Sends this process's rows of a batch to its devices."""
    sharding = split_rows(mesh)
    if jax.process_count() == 1:
        return jax.device_put(rows, sharding)
    return jax.make_array_from_process_local_data(sharding, rows)


def put_replicated(mesh: Mesh, tree):
    """Sends a whole copy of every leaf to every device."""
    sharding = replicated(mesh)
    if jax.process_count() == 1:
        return jax.device_put(tree, sharding)
    return jax.tree.map(
        lambda leaf: jax.make_array_from_process_local_data(
            sharding, np.asarray(leaf), np.shape(leaf)
        ),
        tree,
    )


def start_fetch(array: jax.Array) -> None:
    """Begins to copy an array to the host, to be waited for by `local_rows`."""
    # Meant, like a `device_get`; newer versions of JAX take it for an accident.
    with jax.transfer_guard_device_to_host("allow"):
        array.copy_to_host_async()


def local_rows(array: jax.Array, axis: int) -> np.ndarray:
    """Fetches the part of a row-sharded array that this process's devices hold.

    Args:
        array: Cut over the mesh along `axis`.
        axis: The axis of the rows.

    Returns:
        This process's rows in order; all of them on a single process.
    """
    if array.is_fully_addressable:
        return np.asarray(jax.device_get(array))
    shards = sorted(
        array.addressable_shards, key=lambda shard: shard.index[axis].start or 0
    )
    return np.concatenate([np.asarray(shard.data) for shard in shards], axis=axis)
