"""What numbers belong to: energy model and landscape of a run, routes and rules of a study."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..analysis import landscape

__all__ = ["ROUTES", "RULES", "energy_model", "header"]

ROUTES = {"switching": "switching", "windows": "windows", "frenkel-ladd": "Frenkel–Ladd"}
"""Routes to a free energy, as tables call them."""
RULES = {
    "sites": "Mean crystal, rule sites",
    "paper": "Mean crystal, rule paper",
    "arrangements": "Average over arrangements",
}
"""Ways to describe a solid solution, as tables call them."""
_KINDS = {"mace": "MACE", "chgnet": "CHGNet"}


def header(
    config: Mapping[str, Any], model: Mapping[str, Any], machine: Mapping[str, Any]
) -> list[str]:
    """Lines to print before a run: energy model and landscape.

    Parameters
    ----------
    config, model, machine
        The resolved campaign, and what ``run.toml`` records of the model and the machine.
    """
    return [
        f"energy model: {energy_model(config, model, machine)}",
        f"landscape: {landscape(config)}; every temperature is one on it",
    ]


def energy_model(
    config: Mapping[str, Any], model: Mapping[str, Any], machine: Mapping[str, Any]
) -> str:
    """Name of the energy model, where it runs, in which precision and on how many threads.

    Examples
    --------
    >>> energy_model(
    ...     {"potential": {"kind": "mace"}},
    ...     {"name": "alchemc-oxides-1", "kind": "bundled", "dtype": "float64"},
    ...     {"device": "cpu", "threads": 1},
    ... )
    'bundled MACE alchemc-oxides-1, cpu, float64, 1 thread'
    >>> energy_model({}, {"name": "toy"}, {})
    'toy'
    """
    kind = str(config.get("potential", {}).get("kind", ""))
    label, name = _KINDS.get(kind, ""), str(model.get("name", "not described"))
    words = ["bundled"] if model.get("kind") == "bundled" else []
    words += [label] if label and not name.lower().startswith(label.lower()) else []
    parts = [" ".join([*words, name])]
    if device := machine.get("device"):
        gpu = machine.get("gpu")
        parts.append(f"{device} ({gpu})" if gpu else str(device))
    if dtype := model.get("dtype"):
        parts.append(str(dtype))
    if threads := machine.get("threads"):
        parts.append(f"{threads} thread{'s' if threads != 1 else ''}")
    return ", ".join(parts)
