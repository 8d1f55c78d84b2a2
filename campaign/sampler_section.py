"""``[sampler]``: how it is sampled, and which samplers serve which ensemble."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from .ensemble_section import OPEN
from .section import Positive, Section

__all__ = ["MixturePart", "Sampler", "moves", "refusal"]

_BALANCED = ("gibbs-with-gradients", "path-auxiliary")
_EITHER = ("gibbs-with-gradients", "path-auxiliary", "discrete-langevin", "surrogate")
"""Kernels that swap species or flip single sites, whichever is asked for."""

_ALWAYS = {
    "random-swap": frozenset({"swap"}),
    "random-flip": frozenset({"flip"}),
    "table-exchange": frozenset({"exchange", "swap"}),
}
_CALLED_FOR = {
    "canonical": frozenset({"swap"}),
    "semi-grand": frozenset({"flip", "swap"}),
    "variance-constrained": frozenset({"flip", "swap"}),
    "charge-neutral": frozenset({"exchange", "swap"}),
}
_KEPT = {
    "canonical": "the composition, which kind = 'canonical' keeps",
    "charge-neutral": "the charge, which kind = 'charge-neutral' keeps",
}


class MixturePart(Section):
    """One kernel of a mixture and how often it is used."""

    kind: Literal[
        "random-swap",
        "random-flip",
        "gibbs-with-gradients",
        "path-auxiliary",
        "discrete-langevin",
        "surrogate",
        "table-exchange",
    ]
    weight: Positive = 1.0
    balancing: Literal["sqrt", "barker"] | None = None
    move: Literal["swap", "flip"] | None = None

    @model_validator(mode="after")
    def _options_fit_the_kind(self) -> Self:
        _check_options(self)
        return self


class Sampler(Section):
    """How it is sampled.

    ``move`` is by default a swap where the composition is kept and a flip where it is not.
    """

    kind: Literal[
        "surrogate",
        "random-swap",
        "random-flip",
        "gibbs-with-gradients",
        "path-auxiliary",
        "discrete-langevin",
        "table-exchange",
        "mixture",
    ] = "surrogate"
    balancing: Literal["sqrt", "barker"] | None = None
    move: Literal["swap", "flip"] | None = None
    kernels: Annotated[list[MixturePart], Field(min_length=1)] | None = None

    @model_validator(mode="after")
    def _options_fit_the_kind(self) -> Self:
        _check_options(self)
        if (self.kernels is not None) != (self.kind == "mixture"):
            raise ValueError(
                "a mixture needs 'kernels', for instance "
                "[{kind = 'random-swap'}, {kind = 'gibbs-with-gradients', weight = 3}]; "
                "no other kind takes them"
            )
        return self

    @property
    def parts(self) -> list[MixturePart | Sampler]:
        """The kernels: those of a mixture, or the only one."""
        return [self] if self.kernels is None else [*self.kernels]


def _check_options(part: MixturePart | Sampler) -> None:
    for name, kinds in (("balancing", _BALANCED), ("move", _EITHER)):
        if getattr(part, name) is not None and part.kind not in kinds:
            raise ValueError(f"'{name}' belongs to {' and '.join(kinds)}, not to {part.kind}")


def moves(part: MixturePart | Sampler, ensemble: str) -> frozenset[str]:
    """Tell what a kernel does in an ensemble: ``"swap"``, ``"flip"``, ``"exchange"`` of several."""
    if part.kind in _ALWAYS:
        return _ALWAYS[part.kind]
    if part.move is not None:
        return frozenset({part.move})
    if part.kind == "surrogate":  # its inner chain does all that the ensemble calls for
        return _CALLED_FOR[ensemble]
    return frozenset({"flip" if ensemble in OPEN else "swap"})


def refusal(sampler: Sampler, ensemble: str) -> str:
    """Why a sampler does not serve a kind of ensemble, and what does; empty where it serves."""
    done = [(part, moves(part, ensemble)) for part in sampler.parts]
    every = frozenset().union(*(found for _, found in done))
    for part, found in done:
        word = _word(part)
        if ensemble in _KEPT and "flip" in found:
            use = "random-swap" if ensemble == "canonical" else "table-exchange"
            return f"sampler: {word} changes {_KEPT[ensemble]}; use surrogate or {use}"
        if ensemble == "canonical" and "exchange" in found:
            return f"sampler: {word} changes {_KEPT[ensemble]}; use surrogate or random-swap"
    words = " and ".join(dict.fromkeys(_word(part) for part, _ in done))
    need, others = (
        ("exchange", "table-exchange") if ensemble == "charge-neutral" else ("flip", "random-flip")
    )
    if ensemble == "canonical" or need in every:
        return ""
    plain = [part.model_copy(update={"move": None}) for part, _ in done if part.move is not None]
    use = "leave out 'move', or " if any(need in moves(part, ensemble) for part in plain) else ""
    kept = "composition" if every == {"swap"} else "charge"
    return (
        f"sampler: {words} alone keeps the {kept}, which kind = '{ensemble}' lets fluctuate; "
        f"{use}use surrogate or {others}, or a mixture with one of them"
    )


def _word(part: MixturePart | Sampler) -> str:
    """Kernel as the campaign asked for it."""
    return part.kind if part.move is None else f"{part.kind} with move = '{part.move}'"
