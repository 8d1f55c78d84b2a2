"""Where an energy model runs and in which precision, if the user leaves it open."""

from __future__ import annotations

from typing import Any, NamedTuple

__all__ = ["Placement", "choose_placement", "placement_facts"]

THREADS = 1
"""Those of one evaluation on a CPU, unless a Python user asks an energy model for more."""
_SINGLE = {"chgnet"}
_DOUBLE_ON_CPU = {"mace"}


class Placement(NamedTuple):
    """Device and dtype by name."""

    device: str
    dtype: str


def choose_placement(kind: str, device: str = "auto", dtype: str = "auto") -> Placement:
    """Device and dtype of a kind of potential, with ``"auto"`` decided.

    Parameters
    ----------
    kind
        ``potential.kind`` of a campaign. Kinds that are not alchemc's keep ``device`` and get
        float64.
    device
        ``"auto"`` takes a GPU where there is one.
    dtype
        ``"auto"`` is float64 for MACE on a CPU and float32 on a GPU, and float32 for CHGNet, whose
        weights were trained and published in it. Atoms are summed in float64 either way.

    Raises
    ------
    InputError
        If there is no such device.

    Notes
    -----
    float32 is accurate enough for sampling: with the bundled model the energies of 12 swaps differ
    from float64 by 1e-6 eV (root mean square; at 40, 320 and 1,080 atoms alike), 1e-5 kT at
    1,000 K. GPUs compute in it 2 to 64 times as fast. On a CPU it took 0.5 to 0.9 of the time, for
    which rounding in derivatives and relaxations is not worth having.

    Examples
    --------
    >>> choose_placement("mace", "cpu")
    Placement(device='cpu', dtype='float64')
    >>> choose_placement("chgnet", "cpu")
    Placement(device='cpu', dtype='float32')
    """
    if kind not in _SINGLE | _DOUBLE_ON_CPU:
        return Placement(device, "float64" if dtype == "auto" else dtype)
    from .alchemical import find_device  # noqa: PLC0415  (torch, not needed by other kinds)

    found = find_device(device)
    single = kind in _SINGLE or found.type != "cpu"
    return Placement(str(found), ("float32" if single else "float64") if dtype == "auto" else dtype)


def placement_facts(hamiltonian: Any) -> dict[str, str | int]:
    """Device, GPU, engine and threads that an alchemical potential uses; empty for other models."""
    device = getattr(hamiltonian, "device", None)
    if not isinstance(device, str):
        return {}
    facts: dict[str, str | int] = {"device": device}
    if engine := getattr(hamiltonian, "engine", ""):
        facts["engine"] = engine
    if device == "cpu":
        facts["threads"] = THREADS
    elif device.startswith("cuda"):
        import torch  # noqa: PLC0415

        facts["gpu"] = torch.cuda.get_device_name(torch.device(device))
    return facts
