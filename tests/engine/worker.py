"""One of several processes that evaluate together; see test_processes.py."""

import sys

import jax
import numpy as np


def main(port: str, count: int, index: int, output: str) -> None:
    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_num_cpu_devices", 2)
    jax.distributed.initialize(
        f"127.0.0.1:{port}", num_processes=count, process_id=index
    )
    from jax.experimental.multihost_utils import sync_global_devices

    from jaxbench.data import ArraySource, load_images, open_dataset
    from jaxbench.engine import evaluate
    from jaxbench.errors import UserError
    from jaxbench.metrics import score_examples, summarize
    from model_zoo import create_model

    model = create_model("resnet_micro", num_classes=8)
    found = evaluate(
        model,
        model.init(jax.random.key(3)),
        open_dataset("digits@test"),
        calibration=open_dataset("digits@validation"),
        batch_size=60,
        num_resamples=0,
        keep_logits=True,
    )

    class Holed(ArraySource):
        """Its 70th image, which the first process reads, is not an image."""

        def __getitem__(self, index):
            example = super().__getitem__(index)
            return example._replace(image=b"none") if index == 69 else example

    images = load_images(open_dataset("digits@test"), model.input_spec)
    source = Holed("holed", images.images, images.labels)
    message = ""
    try:
        evaluate(
            model,
            model.init(jax.random.key(3)),
            source,
            batch_size=60,
            num_resamples=0,
        )
    except UserError as error:
        message = str(error)
    # Arrays of which no process holds the whole, on a mesh as JAX makes it.
    mesh = jax.make_mesh((2 * count,), ("data",))
    rows = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("data"))
    spread = [
        jax.make_array_from_callback(a.shape, rows, a.__getitem__)
        for a in (found.logits[:240], found.columns["label"][:240])
    ]
    scores = score_examples(*spread)
    measured = summarize(scores, ["accuracy", "aurc"])
    columns = {n: c.astype(str) if n == "id" else c for n, c in found.columns.items()}
    values = {f"metric_{name}": value for name, value in found.metrics.items()}
    np.savez(
        output,
        logits=found.logits,
        devices=found.num_devices,
        temperature=found.temperature,
        message=message,
        measured=np.array([float(value) for value in measured.values()]),
        **columns,
        **values,
    )
    sync_global_devices("done")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4])
