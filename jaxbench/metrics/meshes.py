"""One way to compile a kernel for arrays on any mesh.

`jax.make_mesh` gives axes of type Explicit today: shardings are part of an array's
type, and a sort, a gather or a scatter along a sharded axis is an error unless it says
how its result is sharded. The metrics sort, gather and scatter whole columns, and what
they return is a scalar or a column: so a kernel is compiled with these axes as Auto,
which leaves the shardings within to the compiler, and only its result has a type to
declare. Every kernel of this package is compiled by `compiled`.
"""

from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

import jax
from jax.sharding import AbstractMesh, NamedSharding, PartitionSpec

F = TypeVar("F", bound=Callable[..., Any])


def compiled(
    function: F, *, static_argnames: str | tuple[str, ...] = (), by_row: bool = False
) -> F:
    """`jax.jit` for arrays on meshes with Explicit, Auto or Manual axes, or on none.

    Nothing is looked at when a compiled program runs: meshes are known when tracing.

    Args:
        function: A kernel: traced values in, a pytree of arrays out.
        static_argnames: As in `jax.jit`.
        by_row: Whether every result has a row for each row of the first argument, and
            is sharded over Explicit axes as these are. Other results are replicated.
    """

    @wraps(function)
    def kernel(*args, **kwargs):
        leaves, tree = jax.tree.flatten((args, kwargs))
        places = [i for i, leaf in enumerate(leaves) if isinstance(leaf, jax.Array)]
        arrays = [leaves[i] for i in places]
        mesh = _explicit_mesh(arrays)
        if mesh is None:
            return function(*args, **kwargs)

        def call(*arrays):
            filled = list(leaves)
            for place, array in zip(places, arrays, strict=True):
                filled[place] = array
            args, kwargs = jax.tree.unflatten(tree, filled)
            return function(*args, **kwargs)

        spec = jax.typeof(arrays[0]).sharding.spec[:1] if by_row else ()
        result = NamedSharding(mesh, PartitionSpec(*spec))
        within = jax.sharding.auto_axes(
            call, axes=mesh.explicit_axes, out_sharding=result
        )
        return within(*arrays)

    return jax.jit(kernel, static_argnames=static_argnames)  # pyright: ignore


def _explicit_mesh(arrays: list[jax.Array]) -> AbstractMesh | None:
    """The mesh with Explicit axes that the arrays, or the context, are on."""
    meshes = [jax.typeof(array).sharding.mesh for array in arrays]
    meshes.append(jax.sharding.get_abstract_mesh())
    return next((mesh for mesh in meshes if mesh.explicit_axes), None)
