"""What a second model pays for images that a first one has decoded.

    python scripts/benchmark_decoding.py folder:PATH/TO/imagenet_sample.tar

Evaluates ten networks with one input specification on a dataset: each once on images in
memory (its forward passes alone) and once through the cache of decoded images, which is
empty when the first one begins. Prints a Markdown table, and the time of all passes
through the cache over the sum of the forward passes and one decode; compilation is left
out on both sides, weights are random.
"""

import argparse
import dataclasses
import os
import tempfile
import time

import jax

from jaxbench.data import load_images, open_dataset
from jaxbench.data.decoded import decoded_source
from jaxbench.engine import evaluate, provenance
from model_zoo import InputSpec, create_model

MODELS = (
    "resnet18",
    "resnet26",
    "resnet34",
    "resnet50",
    "convnext_atto",
    "convnext_femto",
    "convnext_pico",
    "vit_tiny_patch16_224",
    "mixer_s32_224",
    "vit_small_patch32_224",
)
SPEC = InputSpec(size=(224, 224), crop_fraction=0.875, interpolation="bicubic")


def main() -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("dataset", help="address of encoded images")
    parser.add_argument("--batch-size", type=int, default=25)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        # Fingerprints are remembered there, too: taken before the clock starts.
        os.environ["JAXBENCH_CACHE"] = folder
        source = open_dataset(options.dataset)
        print(f"{len(source)} images, fingerprint {source.fingerprint}")
        started = time.perf_counter()
        arrays = load_images(source, SPEC)
        decode = time.perf_counter() - started
        print("\n| model | forward s | through the cache s |\n| --- | --- | --- |")
        forward = through = 0.0
        for name in MODELS:
            model = create_model(name)
            spec = dataclasses.replace(
                model.input_spec,
                size=SPEC.size,
                crop_fraction=SPEC.crop_fraction,
                interpolation=SPEC.interpolation,
            )
            model = dataclasses.replace(model, input_spec=spec)
            variables = jax.device_put(model.init(jax.random.key(0)))
            seconds = [
                _seconds(model, variables, dataset, options.batch_size)
                for dataset in (arrays, arrays, decoded_source(source, spec))
            ]
            # The first of the three compiles and warms up.
            forward += seconds[1]
            through += seconds[2]
            print(f"| {name} | {seconds[1]:.2f} | {seconds[2]:.2f} |")
    whole = forward + decode
    print(f"\none decode {decode:.2f} s, forward passes {forward:.2f} s")
    print(f"through the cache {through:.2f} s: {through / whole:.3f} of {whole:.2f} s")
    print(f"{os.cpu_count()} cores; {provenance()['jax_version']}")


def _seconds(model, variables, dataset, batch_size: int) -> float:
    """Wall time of one evaluation, less what it compiled."""
    started = time.perf_counter()
    found = evaluate(
        model,
        variables,
        dataset,
        # Labels of a part of ImageNet's folders are not the network's.
        role="clean",
        metrics=("accuracy",),
        num_resamples=0,
        batch_size=batch_size,
    )
    return time.perf_counter() - started - found.timing.compile_seconds


if __name__ == "__main__":
    main()
