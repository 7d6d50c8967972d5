"""The known columns of a run: their fixed types and what each one means."""

from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal


@dataclass(frozen=True)
class Column:
    """The fixed type of a column and its meaning in one line."""

    type: Literal["string", "int64", "float64", "bool"]
    meaning: str


CORE = MappingProxyType(
    {
        "run_id": Column("string", "digest of everything that determines the numbers"),
        "kind": Column(
            "string", "evaluation (a model on a dataset) or trial (a training)"
        ),
        "status": Column("string", "ok or failed"),
        "error_type": Column("string", "class of the exception of a failed run"),
        "error_message": Column("string", "its message"),
        "error_traceback": Column("string", "its traceback"),
    }
)

SETTINGS = MappingProxyType(
    {
        "experiment": Column("string", "name of the experiment file"),
        "model": Column("string", "name of the classifier"),
        "weights": Column("string", "where the weights come from, if not from a trial"),
        "network_changes": Column(
            "string", "arguments of the architecture that a config.json changed"
        ),
        "dataset": Column(
            "string", "address: evaluated on (evaluation), trained on (trial)"
        ),
        "role": Column("string", "clean, shifted or ood"),
        "optimizer": Column("string", "name of the optimizer that trained the weights"),
        "learning_rate": Column("float64", "peak learning rate"),
        "weight_decay": Column(
            "float64", "weight decay, in the optimizer's convention"
        ),
        "own_options": Column("string", "options of an optimizer of your own, as text"),
        "seed": Column("int64", "seed of initial weights and order of the examples"),
        "trial_id": Column("string", "run_id of the trial that made the weights"),
        "epochs": Column("int64", "passes over the training images"),
        "train_batch_size": Column("int64", "images of one optimizer step"),
        "recipe": Column("string", "recipe that the training started from"),
        "started_from": Column("string", "weights it started from; null from scratch"),
        "teacher": Column("string", "network it learned from, and its weights"),
        "teacher_trial": Column(
            "string", "run_id of the trial that taught, if one did"
        ),
        "steps_per_epoch": Column(
            "int64", "optimizer steps of one pass over the images"
        ),
        "diverged_step": Column(
            "int64", "first step with a non-finite loss; null if none"
        ),
        "stopped_step": Column(
            "int64", "steps gone by when halving stopped it, if it did"
        ),
        "protocol": Column(
            "string",
            "how frozen features were classified: linear_probe, logistic_regression or "
            "knn; null where the model's own head decided",
        ),
        "probe_id": Column(
            "string", "digest of the backbone, the protocol and its choices"
        ),
        "probe_train": Column(
            "string", "address of the images the probe was fitted on"
        ),
        "probe_learning_rate": Column(
            "float64", "learning rate of the chosen linear probe"
        ),
        "probe_weight_decay": Column(
            "float64", "its weight decay; of a logistic regression, its L2 penalty"
        ),
        "probe_epochs": Column("int64", "passes of a linear probe over its features"),
        "probe_validation_accuracy": Column(
            "float64", "accuracy of the chosen member where it was chosen"
        ),
        "num_neighbors": Column("int64", "neighbours that vote, of the protocol knn"),
        "num_parameters": Column("int64", "trainable parameters"),
        "num_classes": Column("int64", "classes of the logits"),
        "num_examples": Column("int64", "examples that count"),
        "num_published": Column(
            "int64", "images of the whole dataset, where it was prepared in part"
        ),
        "num_skipped": Column("int64", "examples that could not be read"),
        "num_nonfinite": Column("int64", "examples with a NaN or infinite logit"),
        "batch_size": Column(
            "int64", "images of one evaluation step, over all devices"
        ),
        "num_devices": Column("int64", "devices the batch was split over"),
        "temperature": Column("float64", "fitted temperature T*; null without scaling"),
        "num_resamples": Column("int64", "bootstrap resamples behind each interval"),
        "resampling_seed": Column("int64", "seed of these resamples"),
        "reference_dataset": Column(
            "string", "clean images that out-of-distribution ones are compared with"
        ),
        "dtype": Column("string", "type the model computes in"),
        "zero_shot": Column("string", "class names and prompts of a CLIP model's head"),
        "image_size": Column(
            "int64", "height of the images that the model saw, in pixels"
        ),
        "image_limit": Column(
            "int64", "images that a trial run was cut to; null for all"
        ),
        "crop_fraction": Column("float64", "share of the resized image that was kept"),
        "interpolation": Column("string", "resize filter of the images"),
        "class_order": Column(
            "string",
            "what says which class an output means: dataset, imagenet, timm ...",
        ),
        "objective": Column(
            "string", "what was minimised, where not a classifier's loss"
        ),
        "contrastive_temperature": Column("float64", "temperature of NT-Xent"),
        "projection_hidden": Column(
            "int64", "width of the projection head's hidden layer"
        ),
        "projection_width": Column("int64", "length of a projection"),
        "huber_weight": Column("float64", "weight of the Huber term between two views"),
        "huber_delta": Column("float64", "where the Huber term turns into a line"),
        "curation": Column(
            "string", "rule that finds bad batches: none, value, quantile"
        ),
        "curation_max_distance": Column(
            "float64", "largest Frechet distance that passes"
        ),
        "curation_quantile": Column(
            "float64", "quantile of the draws before that passes"
        ),
        "curation_on_reject": Column(
            "string", "skip the images, or redraw their views"
        ),
        "budget": Column("string", "what the epochs count: draws or updates"),
        "draws": Column("int64", "batches of two views that were judged"),
        "updates": Column("int64", "draws that were used for an update"),
        "rejected": Column("int64", "draws that were not: forward passes for nothing"),
        "batches": Column("int64", "batches of images that were taken"),
        "images_seen": Column("int64", "images of these, repeats over epochs included"),
        "views_seen": Column("int64", "views that went through the network forwards"),
        "backward_passes": Column("int64", "draws that were differentiated"),
        "tested_on": Column("string", "address that a linear probe was tested on"),
        "probe_num_skipped": Column(
            "int64", "images of its data that could not be read"
        ),
    }
)

PROVENANCE = MappingProxyType(
    {
        "git_commit": "commit of the working tree",
        "own_parts": "parts that were registered, with digests of their sources",
        "jaxbench_version": "version of this package",
        "jax_version": "version of jax",
        "flax_version": "version of flax",
        "python_version": "version of Python",
        "device": "kind of the device, as jax names it",
        "platform": "cpu, gpu or tpu",
        "num_devices": "devices that jax saw",
        "config_digest": "digest of the experiment file's values",
        "dataset_fingerprint": "digest of the dataset's content",
        "weights_digest": "digest of the weights",
        "numbers_version": "raised when a change moves numbers of this kind of run",
        "created_at": "end of the run, UTC, ISO 8601",
        "remeasured_at": "when metrics were last computed anew from columns, if ever",
    }
)

EXAMPLES = MappingProxyType(
    {
        "id": "name of the example, unique in its dataset",
        "label": "class index; -1 where no class of the model applies (ood)",
        "prediction": "class of the largest logit",
        "correct": "prediction == label",
        "label_rank": "classes that beat the label; 0 is right, 2147483647 unreachable",
        "confidence": "largest softmax probability, in [0, 1]",
        "log_one_minus_confidence": "log(1 - confidence), stable where confidence is 1",
        "nll": "negative log-likelihood of the label, nats",
        "brier": "sum over classes of (probability - one-hot)^2, in [0, 2]",
        "entropy": "entropy of the softmax, nats",
        "margin": "largest minus second largest probability, in [0, 1]",
        "max_logit": "largest logit",
        "energy": "logsumexp of the logits; higher is more in-distribution",
        "finite": "whether every logit is finite",
    }
)
