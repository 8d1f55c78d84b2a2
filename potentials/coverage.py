"""Which MACE models the alchemical energy covers; anything else is refused, never guessed."""

from __future__ import annotations

from typing import Any

from ..errors import ModelError
from ._mace import MaceModule

__all__ = ["check_covered", "head_index"]

_MODELS = {"MACE", "ScaleShiftMACE"}
_INTERACTIONS = {
    "RealAgnosticAttResidualInteractionBlock",
    "RealAgnosticDensityInteractionBlock",
    "RealAgnosticDensityResidualInteractionBlock",
    "RealAgnosticInteractionBlock",
    "RealAgnosticResidualInteractionBlock",
    "RealAgnosticResidualNonLinearInteractionBlock",
}
_READOUTS = {"LinearReadoutBlock", "NonLinearBiasReadoutBlock", "NonLinearReadoutBlock"}
_PARTS = {
    "atomic_energies_fn",
    "interactions",
    "node_embedding",
    "pair_repulsion_fn",
    "products",
    "radial_embedding",
    "readouts",
    "scale_shift",
    "spherical_harmonics",
}


def check_covered(model: MaceModule) -> None:
    """Refuse a model in which the sender's weight would not reach every term of the energy.

    Raises
    ------
    ModelError
        Naming the class or part that is not covered.
    """
    name = type(model).__name__
    if name not in _MODELS or not type(model).__module__.startswith("mace."):
        _refuse(f"models of class {name}")
    if hasattr(model, "joint_embedding"):
        _refuse("joint embeddings (total charge, spin and the like)")
    for part, _ in model.named_children():
        if part not in _PARTS:
            _refuse(f"the part {part!r}")
    for block in model.interactions:
        _check_class(block, _INTERACTIONS)
        if hasattr(block, "conv_fusion"):
            _refuse("the fused convolutions")
    for block in model.products:
        _check_class(block, {"EquivariantProductBasisBlock"})
    for block in model.readouts:
        _check_class(block, _READOUTS)
    for block in model.modules():
        if any(_enabled(getattr(block, key, None)) for key in ("cueq_config", "oeq_config")):
            _refuse(
                "the cuEquivariance or OpenEquivariance kernels (give the model as it was before: "
                "on a GPU it is converted here)"
            )


def head_index(model: MaceModule, head: str | None) -> int:
    """Position of the named readout head.

    Without a name it is the only head, or the one called "default" as in mace-torch's calculator.

    Raises
    ------
    ModelError
        If there is no such head, or none is named and the choice is not obvious.
    """
    heads = list(getattr(model, "heads", None) or ["Default"])
    if head is None and len(heads) == 1:
        return 0
    matches = [i for i, name in enumerate(heads) if name == head]
    if head is None:
        matches = [i for i, name in enumerate(heads) if name.lower() == "default"]
    if not matches:
        asked = "none was named" if head is None else f"there is no head {head!r}"
        raise ModelError(f"model has the heads {', '.join(heads)} and {asked}; set head to one")
    return matches[0]


def _check_class(block: MaceModule, covered: set[str]) -> None:
    name = type(block).__name__
    if name not in covered or not type(block).__module__.startswith("mace."):
        _refuse(f"blocks of class {name}")


def _enabled(config: Any) -> bool:
    return bool(config is not None and getattr(config, "enabled", False))


def _refuse(what: str) -> None:
    raise ModelError(f"AlchemicalMACE does not cover {what} of this model; use another model")
