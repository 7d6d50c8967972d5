"""`[study]`: which of the studies an experiment's results are analysed as."""

from typing import Any

import pydantic

from jaxbench.config.base import Name, Table


class StudyConfig(Table):
    """An analysis of the finished runs.

    Other keys are the study's own options; `jaxbench.reports.studies` knows them.

    Attributes:
        kind: Name of the study.
    """

    model_config = pydantic.ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, Any]  # pyright: ignore[reportIncompatibleVariableOverride]

    kind: Name

    @property
    def options(self) -> dict[str, Any]:
        """The other keys."""
        return dict(self.__pydantic_extra__ or {})
