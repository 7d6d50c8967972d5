"""Building blocks that the families share.

Every layer here is declared abstractly: its parameters are `jax.ShapeDtypeStruct`s, so
that building the largest network takes milliseconds and no memory. The numbers come
from `initializers` or from a file, never from a constructor.
"""
