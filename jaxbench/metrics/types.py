"""Array annotations that the metrics share.

JAX and NumPy arrays are both welcome: per-example columns come off the device as
NumPy arrays, are stored, and are measured again later.
"""

from typing import TypeAlias

import jax
import numpy as np
from jaxtyping import Bool, Float, Int

AnyArray: TypeAlias = jax.Array | np.ndarray

Logits: TypeAlias = Float[AnyArray, "n k"]
Labels: TypeAlias = Int[AnyArray, " n"]
LabelSets: TypeAlias = Int[AnyArray, "n m"]
Column: TypeAlias = Float[AnyArray, " n"]
Flags: TypeAlias = Bool[AnyArray, " n"]
ClassMask: TypeAlias = Bool[AnyArray, " k"]
Scalar: TypeAlias = Float[jax.Array, ""]
