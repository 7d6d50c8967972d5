"""What every table of an experiment file shares: strictness, and types of values."""

from typing import Annotated, Literal

import pydantic
from pydantic import Field

Name = Annotated[str, Field(min_length=1)]
Count = Annotated[int, Field(ge=1)]
Fraction = Annotated[float, Field(ge=0, lt=1)]
Rate = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]
OnError = Literal["raise", "skip"]


class Table(pydantic.BaseModel):
    """A TOML table: frozen, strict about types, closed to unknown keys."""

    model_config = pydantic.ConfigDict(
        frozen=True, extra="forbid", strict=True, allow_inf_nan=False
    )
