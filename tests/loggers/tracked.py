"""Reads back what trackers have on disk, all of them in one form."""

import json
import struct
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from jaxbench.loggers.tracker import plain

KINDS = ("tensorboard", "wandb", "mlflow")


@dataclass
class Tracked:
    """A run of a tracker.

    Attributes:
        points: Name of a curve to its (step, value), in the order they were written.
        metrics: Final numbers, with their group before the name.
        settings: As text, likewise.
        status: As the tracker has it.
        files: Names of files.
    """

    points: dict[str, list[tuple[int, float]]] = field(
        default_factory=lambda: defaultdict(list)
    )
    metrics: dict[str, float] = field(default_factory=dict)
    settings: dict[str, str] = field(default_factory=dict)
    status: str = ""
    files: list[str] = field(default_factory=list)


def place(kind: str, folder: Path) -> str:
    """Where a test of this folder logs to."""
    targets = {"tensorboard": folder / "tb", "mlflow": folder / "mlruns"}
    return f"{kind}:{targets.get(kind, 'team/project')}"


def read(kind: str, folder: Path) -> dict[str, Tracked]:
    """Name of a run, in the letters that folders have, to what is logged there."""
    readers = {"tensorboard": _tensorboard, "wandb": _wandb, "mlflow": _mlflow}
    return {plain(name): run for name, run in readers[kind](folder).items()}


def _tensorboard(folder: Path) -> dict[str, Tracked]:
    from jaxbench.loggers.tensorboard import read_events

    found = {}
    for path in sorted((folder / "tb").iterdir()):
        run = found[path.name.rpartition("-")[0]] = Tracked()
        for event in read_events(path):
            for value in event.summary.value:
                name = value.tag.removesuffix("/text_summary")
                if value.HasField("simple_value"):
                    point = (event.step, value.simple_value)
                    if "/" in name:
                        run.metrics[name] = value.simple_value
                    else:
                        run.points[name].append(point)
                elif name.endswith("settings"):
                    _read_table(run, name, value.tensor.string_val[0].decode())
                elif value.tag.startswith("_hparams_"):
                    run.status += "hparams"
                else:
                    run.files.append(name)
    return found


def _read_table(run: Tracked, tag: str, table: str) -> None:
    group = tag.removesuffix("settings")
    for line in table.splitlines()[2:]:
        cells = line.removeprefix("| ").removesuffix(" |")
        name, value = cells.split(" | ", 1)
        run.settings[group + name] = value


def _wandb(folder: Path) -> dict[str, Tracked]:
    import wandb

    # Its service writes behind the caller's back.
    wandb.teardown()
    found: dict[str, Tracked] = {}
    for path in sorted((folder / "wandb-files" / "wandb").glob("offline-*/*.wandb")):
        run = Tracked()
        for record in _records(path.read_bytes()):
            if record.HasField("run"):
                run = found.setdefault(record.run.display_name, run)
                assert record.run.run_id in path.name
            settings = _items(record.config.update)
            run.settings |= {name: str(value) for name, value in settings.items()}
            final = _items(record.summary.update)
            run.metrics |= {n: float(value) for n, value in final.items() if "/" in n}
            items = _items(record.history.item)
            for name in [name for name in items if not name.startswith("_")]:
                run.points[name].append((items["_step"], items[name]))
            if record.HasField("artifact"):
                run.files += [f.path for f in record.artifact.manifest.contents]
            if record.HasField("exit"):
                codes = {0: "finished", 1: "failed", 255: "killed"}
                run.status = codes[record.exit.exit_code]
    return found


def _items(items) -> dict:
    return {"/".join(i.nested_key) or i.key: json.loads(i.value_json) for i in items}


def _records(content: bytes) -> Iterator:
    """Records of a file in LevelDB's log format, after a header of seven bytes."""
    from wandb.proto.wandb_internal_pb2 import Record

    at, parts = 7, b""
    while at + 7 <= len(content):
        rest = 32768 - at % 32768
        if rest < 7:
            at += rest
            continue
        _, length, kind = struct.unpack_from("<IHB", content, at)
        parts += content[at + 7 : at + 7 + length]
        at += 7 + length
        # Whole, or the last of its parts.
        if kind in (1, 4):
            yield Record.FromString(parts)
            parts = b""


def _mlflow(folder: Path) -> dict[str, Tracked]:
    from mlflow import MlflowClient

    client, found = MlflowClient(str(folder / "mlruns")), {}
    experiments = [e.experiment_id for e in client.search_experiments()]
    for entry in client.search_runs(experiments):
        assert entry.info.run_name not in found
        run = found[entry.info.run_name] = Tracked()
        own = {n: v for n, v in entry.data.tags.items() if not n.startswith("mlflow.")}
        run.settings = own | entry.data.params
        run.status = entry.info.status.lower()
        run.files = [file.path for file in client.list_artifacts(entry.info.run_id)]
        for name, value in entry.data.metrics.items():
            if "/" in name:
                run.metrics[name] = value
                continue
            history = client.get_metric_history(entry.info.run_id, name)
            run.points[name] = [(m.step, m.value) for m in history]
    return found
