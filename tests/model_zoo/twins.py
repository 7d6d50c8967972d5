"""The forward passes once more, in plain float64 NumPy, from the papers and timm.

The passes share nothing with the package: leaves are looked up by their names, which
are timm's, and the architecture is written out again.
"""

from math import erf

import numpy as np

from model_zoo.architecture import Settings
from model_zoo.classifier import NetworkClassifier
from model_zoo.input_spec import InputSpec

# The presets of tests and tutorials; a wildcard would find other sizes of that name.
MICRO = tuple(f"{family}_micro" for family in ("convnext", "mixer", "resnet", "vit"))
MINI = tuple(f"{family}_mini" for family in ("convnext", "mixer", "resnet", "vit"))

_erf = np.vectorize(erf)


def tiny(architecture, size=(8, 8), *, num_classes=5, dtype="float32", **settings):
    """A classifier of dimensions that no table lists."""
    settings = Settings(num_classes, size, np.dtype(dtype), **settings)
    spec = InputSpec(size=size)
    return NetworkClassifier("tiny", num_classes, spec, architecture, settings)


def random_variables(classifier, seed=0):
    """Every leaf random, so that no branch is silenced by its initial value."""
    rng = np.random.default_rng(seed)
    variables = {}
    for name, leaf in classifier.shapes.items():
        values = rng.normal(0, 0.3, leaf.shape)
        if name.endswith((".scale", ".gamma", ".var")):
            values = 1 + np.abs(values)
        variables[name] = values.astype(np.float32)
    return variables


def random_images(classifier, count, seed=1):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(count, *classifier.input_spec.size, 3)).astype(np.float32)


def gelu(x):
    return x * 0.5 * (1 + _erf(x / np.sqrt(2)))


def softmax(x):
    x = np.exp(x - x.max(-1, keepdims=True))
    return x / x.sum(-1, keepdims=True)


def conv(x, kernel, *, stride=1, padding=0):
    """Sums over kernel positions; a kernel with one input channel is depthwise."""
    x = np.pad(x, ((0, 0), (padding, padding), (padding, padding), (0, 0)))
    side = kernel.shape[0]
    rows = (x.shape[1] - side) // stride + 1
    columns = (x.shape[2] - side) // stride + 1
    depthwise = kernel.shape[2] == 1 and x.shape[3] > 1
    total = 0
    for i in range(side):
        for j in range(side):
            bottom, right = i + stride * rows, j + stride * columns
            window = x[:, i:bottom:stride, j:right:stride]
            total = total + (
                window * kernel[i, j, 0] if depthwise else window @ kernel[i, j]
            )
    return total


class Twin:
    """Leaves in float64 by dotted name, and the layers that read them."""

    def __init__(self, variables):
        self.leaves = {k: np.asarray(v, np.float64) for k, v in variables.items()}

    def __getitem__(self, name):
        return self.leaves[name]

    def linear(self, x, name):
        kernel = self[f"{name}.kernel"]
        return x @ kernel.reshape(kernel.shape[-2:]) + self[f"{name}.bias"]

    def layer_norm(self, x, name, epsilon=1e-6):
        x = x - x.mean(-1, keepdims=True)
        x = x / np.sqrt((x**2).mean(-1, keepdims=True) + epsilon)
        return x * self[f"{name}.scale"] + self[f"{name}.bias"]

    def batch_norm(self, x, name, epsilon=1e-5):
        x = (x - self[f"{name}.mean"]) / np.sqrt(self[f"{name}.var"] + epsilon)
        return x * self[f"{name}.scale"] + self[f"{name}.bias"]

    def mlp(self, x, name):
        return self.linear(gelu(self.linear(x, f"{name}.fc1")), f"{name}.fc2")

    def tokens(self, images, name, patch):
        """Patch by patch, row by row."""
        n, height, width, _ = images.shape
        kernel = self[f"{name}.kernel"].reshape(-1, self[f"{name}.bias"].size)
        patches = [
            images[:, i : i + patch, j : j + patch].reshape(n, -1)
            for i in range(0, height, patch)
            for j in range(0, width, patch)
        ]
        return np.stack(patches, 1) @ kernel + self[f"{name}.bias"]

    def attention(self, x, name, num_heads):
        """One head of one example at a time."""
        head_width = x.shape[-1] // num_heads
        qkv = self.linear(x, f"{name}.qkv")
        query, key, value = np.split(qkv, 3, axis=-1)
        out = np.zeros_like(x)
        for n in range(len(x)):
            for head in range(num_heads):
                part = slice(head * head_width, (head + 1) * head_width)
                scores = query[n, :, part] @ key[n, :, part].T / np.sqrt(head_width)
                out[n, :, part] = softmax(scores) @ value[n, :, part]
        return self.linear(out, f"{name}.proj")


def vit(variables, images, *, patch, depth, num_heads):
    twin = Twin(variables)
    x = twin.tokens(images.astype(np.float64), "patch_embed.proj", patch)
    first = np.repeat(twin["cls_token"], len(x), 0)
    x = np.concatenate([first, x], 1) + twin["pos_embed"]
    for i in range(depth):
        block = f"blocks.{i}"
        x = x + twin.attention(
            twin.layer_norm(x, f"{block}.norm1"), f"{block}.attn", num_heads
        )
        x = x + twin.mlp(twin.layer_norm(x, f"{block}.norm2"), f"{block}.mlp")
    features = twin.layer_norm(x, "norm")[:, 0]
    return twin.linear(features, "head"), features


def mixer(variables, images, *, patch, depth):
    twin = Twin(variables)
    x = twin.tokens(images.astype(np.float64), "stem.proj", patch)
    for i in range(depth):
        block = f"blocks.{i}"
        across = twin.layer_norm(x, f"{block}.norm1").transpose(0, 2, 1)
        x = x + twin.mlp(across, f"{block}.mlp_tokens").transpose(0, 2, 1)
        x = x + twin.mlp(twin.layer_norm(x, f"{block}.norm2"), f"{block}.mlp_channels")
    features = twin.layer_norm(x, "norm").mean(1)
    return twin.linear(features, "head"), features


def convnext(variables, images, *, patch, depths):
    twin = Twin(variables)
    x = conv(images.astype(np.float64), twin["stem.0.kernel"], stride=patch)
    x = twin.layer_norm(x + twin["stem.0.bias"], "stem.1")
    for i, depth in enumerate(depths):
        if i > 0:
            x = twin.layer_norm(x, f"stages.{i}.downsample.0")
            x = conv(x, twin[f"stages.{i}.downsample.1.kernel"], stride=2)
            x = x + twin[f"stages.{i}.downsample.1.bias"]
        for j in range(depth):
            block = f"stages.{i}.blocks.{j}"
            kernel = twin[f"{block}.conv_dw.kernel"]
            y = conv(x, kernel, padding=len(kernel) // 2)
            y = twin.layer_norm(y + twin[f"{block}.conv_dw.bias"], f"{block}.norm")
            x = x + twin.mlp(y, f"{block}.mlp") * twin[f"{block}.gamma"]
    features = twin.layer_norm(x.mean((1, 2)), "head.norm")
    return twin.linear(features, "head.fc"), features


def resnet(variables, images, *, block, depths, stem):
    twin = Twin(variables)

    def conv_bn(x, conv_name, norm_name, stride):
        kernel = twin[f"{conv_name}.kernel"]
        x = conv(x, kernel, stride=stride, padding=len(kernel) // 2)
        return twin.batch_norm(x, norm_name)

    def apply_block(x, name, stride):
        # Which convolution is strided: the 3x3 of a bottleneck, the first of a basic.
        strides = (1, stride, 1) if block == "bottleneck" else (stride, 1)
        y = x
        for i, step in enumerate(strides, start=1):
            y = y if i == 1 else np.maximum(y, 0)
            y = conv_bn(y, f"{name}.conv{i}", f"{name}.bn{i}", step)
        if f"{name}.downsample.0.kernel" in twin.leaves:
            x = conv_bn(x, f"{name}.downsample.0", f"{name}.downsample.1", stride)
        return np.maximum(x + y, 0)

    imagenet = stem == "imagenet"
    x = conv_bn(images.astype(np.float64), "conv1", "bn1", 2 if imagenet else 1)
    x = np.maximum(x, 0)
    x = max_pool(x) if imagenet else x
    for stage, depth in enumerate(depths, start=1):
        for i in range(depth):
            stride = 2 if stage > 1 and i == 0 else 1
            x = apply_block(x, f"layer{stage}.{i}", stride)
    features = x.mean((1, 2))
    return twin.linear(features, "fc"), features


def max_pool(x):
    """3x3, stride 2, one pixel of border that never wins."""
    border = ((0, 0), (1, 1), (1, 1), (0, 0))
    x = np.pad(x, border, constant_values=-np.inf)
    rows, columns = (x.shape[1] - 3) // 2 + 1, (x.shape[2] - 3) // 2 + 1
    windows = [
        x[:, i : i + 2 * rows : 2, j : j + 2 * columns : 2]
        for i in range(3)
        for j in range(3)
    ]
    return np.max(windows, 0)
