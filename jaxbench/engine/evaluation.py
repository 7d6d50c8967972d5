"""The result of `evaluate`: shown in a few lines, exported, saved and loaded."""

import dataclasses
import html
import os
from pathlib import Path
from typing import Any

import numpy as np

from jaxbench.data.batches import Skipped
from jaxbench.data.scoring import Scoring
from jaxbench.engine.passes import Role
from jaxbench.engine.timing import Timing
from jaxbench.errors import counted

# A result with more metrics than are shown is represented by these of them.
_MOST_SHOWN = 6
_HEADLINES = (
    *("accuracy", "nll", "ece", "aurc"),
    *("ood_auroc_max_softmax", "ood_fpr95_max_softmax", "ood_auroc_energy"),
)
_SETTINGS = (
    *("num_examples", "num_skipped", "num_nonfinite", "temperature", "batch_size"),
    *("num_devices", "num_resamples"),
)
_SCORING_ARRAYS = ("class_mask", "label_sets", "groups")


@dataclasses.dataclass(frozen=True, repr=False, eq=False)
class Evaluation:
    """The metrics of one model on one dataset, with their intervals and their cost.

    Attributes:
        model: Name of the classifier.
        dataset: Address of the dataset; None for images in memory, which have none.
        role: "clean", "shifted" or "ood".
        metrics: Name to value, fractions; `NAME_low` and `NAME_high` bound the 95 %
            bootstrap interval, `NAME_ts` is the value at the fitted temperature.
        columns: Per-example columns in the dataset's order, each [num_examples]: id,
            label, those of `ExampleScores`, and `NAME_ts` at the fitted temperature.
        num_examples: Examples that count.
        num_skipped: Unreadable images that were left out.
        skipped: Which ones, and why; on several processes, those of this one.
        num_nonfinite: Examples with a NaN or an infinity among their logits.
        temperature: The fitted temperature, if there was a calibration set.
        batch_size: Rows of a step that this pass ended with.
        num_devices: Devices of the mesh.
        num_resamples: Bootstrap resamples behind each interval; 0 without intervals.
        timing: What the pass cost.
        logits: [num_examples, classes], if asked for.
        features: [num_examples, width], if asked for.
        scoring: How outputs became decisions, where the dataset says so.
    """

    model: str
    dataset: str | None
    role: Role
    metrics: dict[str, float]
    columns: dict[str, np.ndarray]
    num_examples: int
    num_skipped: int
    skipped: tuple[Skipped, ...]
    num_nonfinite: int
    temperature: float | None
    batch_size: int
    num_devices: int
    num_resamples: int
    timing: Timing
    logits: np.ndarray | None = None
    features: np.ndarray | None = None
    scoring: Scoring | None = None

    def to_dict(self, *, columns: bool = False) -> dict[str, Any]:
        """The result in plain Python values, as `json.dumps` takes them.

        Args:
            columns: Whether to include the per-example columns, as lists.

        Returns:
            `model`, `dataset` and `role`; `metrics` (name to value) and `intervals`
            (name to [low, high]); `settings`; `timing`; `skipped`, a list of ids and
            reasons; and `columns` if asked for. A metric that is undefined on these
            examples is NaN.
        """
        intervals = self._intervals()
        bounds = {f"{name}_{end}" for name in intervals for end in ("low", "high")}
        metrics = self.metrics.items()
        found = {
            "model": self.model,
            "dataset": self.dataset,
            "role": self.role,
            "metrics": {name: value for name, value in metrics if name not in bounds},
            "intervals": intervals,
            "settings": {name: getattr(self, name) for name in _SETTINGS},
            "timing": dataclasses.asdict(self.timing),
            "skipped": [one._asdict() for one in self.skipped],
        }
        if columns:
            found["columns"] = {k: v.tolist() for k, v in self.columns.items()}
        return found

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Writes everything to one Parquet file, which `load` reads back.

        The file has a row an example, with the per-example columns, logits and
        features as its columns; the rest is JSON in its metadata. It is written whole
        or not at all, and replaces a file of that name.

        Returns:
            The path.

        Raises:
            UserError: If it cannot be written, such as on a full disk.
        """
        # pyarrow takes a while to import, and most results are never saved.
        from jaxbench.results.example_file import write_examples_file

        wide = {"logits": self.logits, "features": self.features}
        arrays = {name: a for name, a in wide.items() if a is not None}
        header = self.to_dict() | {
            "metrics": self.metrics,
            "scoring": _scoring_to_dict(self.scoring),
        }
        write_examples_file(Path(path), header, self.columns | arrays)
        return Path(path)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "Evaluation":
        """Reads what `save` wrote, to the bit.

        Raises:
            UserError: If the file is missing, damaged, or not a saved evaluation.
        """
        from jaxbench.results.example_file import read_examples_file

        header, arrays = read_examples_file(path)
        return cls(
            model=header["model"],
            dataset=header["dataset"],
            role=header["role"],
            metrics=header["metrics"],
            logits=arrays.pop("logits", None),
            features=arrays.pop("features", None),
            columns=arrays,
            skipped=tuple(Skipped(**one) for one in header["skipped"]),
            timing=Timing(**header["timing"]),
            scoring=_scoring_from_dict(header["scoring"]),
            **header["settings"],
        )

    def _intervals(self) -> dict[str, list[float]]:
        ends = {n: (n + "_low", n + "_high") for n in self.metrics}
        return {
            name: [self.metrics[low], self.metrics[high]]
            for name, (low, high) in ends.items()
            if low in self.metrics and high in self.metrics
        }

    def _title(self) -> str:
        images = counted(self.num_examples, "image")
        skipped = f", {self.num_skipped:,} skipped" if self.num_skipped else ""
        return (
            f"{self.model} on {self.dataset or 'images in memory'}: {images}{skipped}"
        )

    def _headlines(self) -> tuple[list[tuple[str, str, str]], int]:
        """Name, value and interval of the metrics to show, and how many are not."""
        values, intervals = self.to_dict()["metrics"], self._intervals()
        names = list(values)
        if len(names) > _MOST_SHOWN:
            known = [name for name in _HEADLINES if name in values]
            names = known or names[:_MOST_SHOWN]
        rows = []
        for name in names:
            ends = ", ".join(f"{end:.4f}" for end in intervals.get(name, ()))
            rows.append((name, f"{values[name]:.4f}", f"[{ends}]" if ends else ""))
        return rows, len(values) - len(names)

    def __repr__(self) -> str:
        rows, more = self._headlines()
        width = max((len(name) for name, _, _ in rows), default=0)
        lines = [f"  {n:<{width}}  {v}  {ends}".rstrip() for n, v, ends in rows]
        if more:
            lines.append(f"  and {counted(more, 'value')} more in .metrics")
        return "\n".join([f"Evaluation of {self._title()}", *lines])

    def _repr_html_(self) -> str:
        rows, more = self._headlines()
        body = "".join(
            "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>"
            for row in rows
        )
        rest = f"<p>and {counted(more, 'value')} more in <code>.metrics</code></p>"
        return (
            f"<table><caption>{html.escape(self._title())}</caption>"
            "<thead><tr><th>metric</th><th>value</th><th>95 % interval</th></tr>"
            f"</thead><tbody>{body}</tbody></table>{rest if more else ''}"
        )


def _scoring_to_dict(scoring: Scoring | None) -> dict[str, Any] | None:
    if scoring is None:
        return None
    arrays = {name: getattr(scoring, name) for name in _SCORING_ARRAYS}
    return {
        "num_outputs": scoring.num_outputs,
        "output_names": scoring.output_names,
        **{
            name: None if a is None else {"type": a.dtype.str, "values": a.tolist()}
            for name, a in arrays.items()
        },
    }


def _scoring_from_dict(found: dict[str, Any] | None) -> Scoring | None:
    if found is None:
        return None
    arrays = {
        name: found[name] and np.array(found[name]["values"], found[name]["type"])
        for name in _SCORING_ARRAYS
    }
    return Scoring(
        found["num_outputs"], output_names=tuple(found["output_names"]), **arrays
    )
