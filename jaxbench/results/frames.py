"""Arrow tables as the data frames of pandas and polars, which are optional."""

import importlib
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from jaxbench.errors import UserError

if TYPE_CHECKING:
    import pandas
    import polars


def to_pandas(table: pa.Table) -> "pandas.DataFrame":
    """A table as a pandas data frame, with nullable integers and booleans.

    Raises:
        UserError: If pandas is not installed.
    """
    pd = _required("pandas")
    types = {pa.int64(): pd.Int64Dtype(), pa.bool_(): pd.BooleanDtype()}
    return table.to_pandas(types_mapper=types.get)


def to_polars(table: pa.Table) -> "polars.DataFrame":
    """A table as a polars data frame, in which a NaN is not a null.

    Raises:
        UserError: If polars is not installed.
    """
    return _required("polars").from_arrow(table)


def _required(package: str) -> Any:
    try:
        return importlib.import_module(package)
    except ModuleNotFoundError as error:
        raise UserError(
            f"to_{package} needs the package {package}, which is not installed: "
            f"pip install {package}"
        ) from error
