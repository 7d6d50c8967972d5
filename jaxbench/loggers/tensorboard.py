"""TensorBoard: one folder of event files per model, in the form of tensorboardX."""

import os
import secrets
import socket
import struct
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from tensorboardX import summary
from tensorboardX.proto.event_pb2 import Event  # pyright: ignore[reportAttributeAccessIssue]
from tensorboardX.record_writer import masked_crc32c

from jaxbench.errors import UserError
from jaxbench.loggers.tracker import (
    Point,
    Setting,
    Status,
    Subject,
    TrackedRun,
    grouped,
    plain,
)

_HPARAMS_TAG = "_hparams_/session_start_info"
# Length, and a checksum of the length; the content's own checksum follows it.
_HEADER, _FOOTER_BYTES = struct.Struct("<QI"), 4


class TensorBoard:
    """Event files below a folder.

    Args:
        folder: What `tensorboard --logdir` is given.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def start(self) -> None:
        """Makes the folder.

        Raises:
            UserError: If it cannot be written.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            probe = self.folder / f".{secrets.token_hex(4)}"
            probe.touch()
            probe.unlink()
        except OSError as error:
            raise UserError(
                f"log 'tensorboard:{self.folder}': the folder cannot be written: "
                f"{error.strerror or error}; give another one"
            ) from error

    def open(self, subject: Subject) -> TrackedRun:
        """Opens the folder of a subject for another file of events."""
        ending = subject.key[:12]
        found = sorted(self.folder.glob(f"*-{ending}"))
        folder = found[0] if found else self.folder / f"{plain(subject.name)}-{ending}"
        return _Folder(folder)


class _Folder:
    def __init__(self, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        self.last_step, self._settings = -1, {}
        self._has_hparams = False
        for event in read_events(folder):
            for value in event.summary.value:
                # Everything but curves has a group before its name.
                if "/" not in value.tag:
                    self.last_step = max(self.last_step, event.step)
                self._has_hparams |= value.tag == _HPARAMS_TAG
        # In the order of their names, which is the one TensorBoard reads files in.
        seconds, rest = divmod(time.time_ns(), 10**9)
        name = f"events.out.tfevents.{seconds}.{socket.gethostname()}"
        self._path = folder / f"{name}.{rest:09d}.{os.getpid()}"
        self._append(Event(wall_time=time.time(), file_version="brain.Event:2"))

    def settings(self, values: Mapping[str, Setting], group: str) -> None:
        """Writes settings as a table, and the first ones for the HPARAMS tab."""
        if not group:
            self._settings |= values
            values = self._settings
        if not self._has_hparams:
            _, started, _ = summary.hparams(dict(values), {})
            self._write(started, 0)
            self._has_hparams = True
        table = "| setting | value |\n| --- | --- |\n" + "".join(
            f"| {name} | {_cell(value)} |\n" for name, value in values.items()
        )
        tag = f"{group}/settings" if group else "settings"
        self._write(summary.text(tag, table), max(self.last_step, 0))

    def points(self, points: Sequence[Point]) -> None:
        """Writes points of curves, whose tags have no group."""
        for step, values in points:
            self._scalars(values, step)
            self.last_step = step

    def metrics(self, values: Mapping[str, float], group: str) -> None:
        """Writes final numbers as scalars of the last step."""
        self._scalars(grouped(values, group), max(self.last_step, 0))

    def file(self, path: Path) -> None:
        """Notes where the file is: TensorBoard shows no files."""
        self._write(summary.text(path.stem, f"`{path.resolve()}`"), 0)

    def close(self, status: Status) -> None:
        """Does nothing: event files have no status and are closed."""

    def _scalars(self, values: Mapping[str, float], step: int) -> None:
        written = summary.Summary()
        for name, value in values.items():
            written.value.extend(summary.scalar(name, value).value)
        self._write(written, step)

    def _write(self, written: summary.Summary, step: int) -> None:
        self._append(Event(wall_time=time.time(), step=step, summary=written))

    def _append(self, event: Event) -> None:
        """Adds a TFRecord to the file.

        Not tensorboardX's `SummaryWriter`: its thread would keep an error, such as a
        full disk, to itself, and the training would wait for it.
        """
        content = event.SerializeToString()
        length = struct.pack("<Q", len(content))
        with self._path.open("ab") as file:
            file.write(length + struct.pack("<I", masked_crc32c(length)))
            file.write(content + struct.pack("<I", masked_crc32c(content)))


def _cell(value: Setting) -> str:
    return str(value).replace("\\", "\\\\").replace("|", "\\|").replace("\n", " ")


def read_events(folder: Path) -> Iterator[Event]:
    """The events of a folder; of a file that a killed process left, the whole ones."""
    for path in sorted(folder.glob("events.out.tfevents.*")):
        content, at = path.read_bytes(), 0
        while at + _HEADER.size <= len(content):
            (length, _) = _HEADER.unpack_from(content, at)
            begin, at = at + _HEADER.size, at + _HEADER.size + length + _FOOTER_BYTES
            if at <= len(content):
                yield Event.FromString(content[begin : begin + length])


def make_tracker(target: str) -> TensorBoard:
    """The tracker of a folder."""
    return TensorBoard(Path(target).expanduser())
