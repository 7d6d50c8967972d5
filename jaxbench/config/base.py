"""What every table of an experiment file shares: strictness, and types of values.

Every number has a range, so that a value that could not work is refused when the file
is read and not after hours.
"""

from dataclasses import dataclass
from typing import Annotated, Any, Literal

import pydantic
from pydantic import AfterValidator, Field
from pydantic_core import core_schema


@dataclass(frozen=True)
class Within:
    """Refuses numbers outside a range, whose ends belong to it unless they are open."""

    low: int | float
    high: int | float
    open_low: bool = False
    open_high: bool = False

    def _check(self, value: Any) -> Any:
        above = value > self.low if self.open_low else value >= self.low
        below = value < self.high if self.open_high else value <= self.high
        if above and below:
            return value
        low, high = (
            f"{end:,}" if isinstance(end, int) else f"{end:g}"
            for end in (self.low, self.high)
        )
        more = "more than " if self.open_low else ""
        less = "less than " if self.open_high else ""
        raise ValueError(f"wanted {more}{low} to {less}{high}")

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> Any:
        schema = handler(source)
        return core_schema.no_info_after_validator_function(self._check, schema)

    def __get_pydantic_json_schema__(self, schema: Any, handler: Any) -> Any:
        return handler(schema) | {"minimum": self.low, "maximum": self.high}


def _printable(text: str) -> str:
    if "\0" in text:
        raise ValueError("no name and no path holds a NUL character")
    return text


Name = Annotated[str, Field(min_length=1), AfterValidator(_printable)]
# Steps and rows are counted in 32 bits.
Count = Annotated[int, Within(1, 2**31 - 1)]
Epochs = Annotated[int, Within(1, 1_000_000)]
Workers = Annotated[int, Within(1, 4096)]
# More than there are images is cut where it is used.
BatchSize = Annotated[int, Within(1, 2**30)]
ImageSize = Annotated[int, Within(1, 16_384)]
Classes = Annotated[int, Within(1, 1_000_000)]
Width = Annotated[int, Within(1, 65_536)]
Resamples = Annotated[int, Within(0, 1_000_000)]
Seed = Annotated[int, Within(0, 2**32 - 1)]
Fraction = Annotated[float, Within(0.0, 1.0, open_high=True)]
Share = Annotated[float, Within(0.0, 1.0)]
PositiveShare = Annotated[float, Within(0.0, 1.0, open_low=True)]
# Squares of these, and one over them, are still numbers in float32.
Rate = Annotated[float, Within(1e-15, 1e15)]
NotNegative = Annotated[float, Within(0.0, 1e15)]
Number = Annotated[float, Within(-1e15, 1e15)]
Interpolation = Literal["nearest", "bilinear", "bicubic", "lanczos"]
OnError = Literal["raise", "skip"]


class Table(pydantic.BaseModel):
    """A TOML table: frozen, strict about types, closed to unknown keys."""

    model_config = pydantic.ConfigDict(
        frozen=True, extra="forbid", strict=True, allow_inf_nan=False
    )
