"""Slow, obvious float64 versions of the probes, and data to run them on."""

import math

import numpy as np

from jaxbench.probing import Features


def blobs(seed, count, width=6, classes=3, spread=1.5):
    """Clouds of points, one a class, far from the origin and of unequal scales."""
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(99).normal(size=(classes, width))
    labels = rng.integers(0, classes, count).astype(np.int32)
    values = centres[labels] + spread * rng.normal(size=(count, width))
    scales = np.linspace(0.5, 3, width)
    ids = np.array([f"{seed}/{row}" for row in range(count)])
    return Features((values * scales + 2).astype(np.float32), labels, ids)


def softmax(logits):
    z = np.exp(logits - logits.max(axis=1, keepdims=True))
    return z / z.sum(axis=1, keepdims=True)


def rate(step, warmup, total):
    if step < warmup:
        return step / warmup
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / (total - warmup)))


def probe(
    train, classes, kernel, orders, *, lr, decay, momentum, warmup, optimizer, norm
):
    """One member, trained step by step; `orders` holds the rows of every batch."""
    x, bias = train.values.astype(np.float64), np.zeros(classes)
    kernel = kernel.astype(np.float64).copy()
    traces = [np.zeros_like(kernel), np.zeros_like(bias)]
    mean, scale = np.zeros(x.shape[1]), np.ones(x.shape[1])
    if norm == "standardize":
        mean, scale = x.mean(axis=0), x.std(axis=0)
    if norm == "l2":
        x = x / np.linalg.norm(x, axis=1, keepdims=True)
    running = [np.zeros(x.shape[1]), np.ones(x.shape[1])]
    for step, rows in enumerate(orders):
        batch = x[rows]
        if norm == "batch_norm":
            mean, var = batch.mean(axis=0), batch.var(axis=0)
            scale = np.sqrt(var + 1e-6)
            running[0] = 0.9 * running[0] + 0.1 * mean
            running[1] = 0.9 * running[1] + 0.1 * batch.var(axis=0, ddof=1)
        batch = (batch - mean) / scale
        error = softmax(batch @ kernel + bias)
        error[np.arange(len(rows)), train.labels[rows]] -= 1
        error /= len(rows)
        gradient = batch.T @ error + decay * kernel
        if optimizer == "lars":
            gradient *= 0.001 * np.linalg.norm(kernel) / np.linalg.norm(gradient)
        traces[0] = momentum * traces[0] + gradient
        traces[1] = momentum * traces[1] + error.sum(axis=0)
        now = lr * rate(step, warmup, len(orders))
        kernel, bias = kernel - now * traces[0], bias - now * traces[1]
    if norm == "batch_norm":
        mean, scale = running[0], np.sqrt(running[1] + 1e-6)
    return kernel, bias, mean, scale


def nearest(queries, bank, k):
    """Cosine similarities and positions; equal ones in the bank's order."""
    a, b = (v.astype(np.float64) for v in (queries, bank))
    a /= np.maximum(np.linalg.norm(a, axis=1, keepdims=True), 1e-12)
    b /= np.maximum(np.linalg.norm(b, axis=1, keepdims=True), 1e-12)
    near = a @ b.T
    order = np.argsort(-near, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(near, order, axis=1), order


def votes(similarity, labels, classes, temperature, prior):
    """Weighted votes, a query and a neighbour at a time."""
    shares = np.zeros((len(labels), classes))
    for query, row in enumerate(labels):
        for s, label in zip(similarity[query], row, strict=True):
            shares[query, label] += math.exp(s / temperature)
        shares[query] /= shares[query].sum()
    k = labels.shape[1]
    return (k * shares + prior / classes) / (k + prior)
