"""What every section of a campaign file is made of."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["Count", "Finite", "Name", "NotNegative", "Positive", "Section", "quoted"]

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1)]
Name = Annotated[str, Field(min_length=1)]


class Section(BaseModel):
    """A table of keys: no other key is taken, and no value is converted."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


def quoted(names: Iterable[str]) -> str:
    """Names in quotes, sorted.

    Examples
    --------
    >>> quoted({"X", "A"})
    "'A', 'X'"
    """
    return ", ".join(f"'{name}'" for name in sorted(names))
