"""The small problem of the reference trajectories, for any array library.

Some odd shapes, a gradient for each step that depends on the parameters, and a
curvature. Numbers come from Python's own generator, whose streams never change.
"""

import random

import numpy as np

STEPS = 20
# After the first step that every optimizer takes, and after the last.
STORED = (2, STEPS)
# As matrices both convolutions are 18 x 17: their ranks are so near their sides that
# eigenvectors are unique (SOAP). The second has axes that AdaFactor factors.
SHAPES = {
    "conv.kernel": (3, 3, 2, 17),
    "head.bias": (3,),
    "head.kernel": (17, 3),
    "point.kernel": (1, 1, 18, 17),
}
DECAY = {name: name.endswith("kernel") for name in SHAPES}
OUTPUT = {name: name == "head.kernel" for name in SHAPES}
# Gradients orthogonal to the parameter, as those of normalised layers: over these axes.
TANGENT = {"conv.kernel": (0, 1, 2), "point.kernel": (0, 1, 2, 3)}
PULL = 0.5


def _numbers(seed: str) -> dict[str, np.ndarray]:
    draw = random.Random(seed)
    return {
        name: np.asarray([draw.uniform(-1, 1) for _ in range(np.prod(shape))])
        .reshape(shape)
        .astype(np.float32)
        .astype(np.float64)
        for name, shape in SHAPES.items()
    }


START = _numbers("start")
NOISE = [_numbers(f"noise {step}") for step in range(STEPS)]


def gradient(parameters, noise, pull=PULL):
    """The gradients at the parameters; `noise` holds one entry of `NOISE`."""
    slopes = {}
    for name, p in parameters.items():
        slope = noise[name] + pull * p
        if name in TANGENT:
            axes = TANGENT[name]
            along = (slope * p).sum(axes, keepdims=True)
            slope = slope - along / (p * p).sum(axes, keepdims=True) * p
        slopes[name] = slope
    return slopes


def curvature(noise):
    """Stands for the squared gradients of the drawn labels; some steps are clipped."""
    return {name: 1e4 * value**2 for name, value in noise.items()}
