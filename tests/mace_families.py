"""Random-weight MACE models of every family of mace-torch, small enough for tests."""

from __future__ import annotations

import functools
import warnings
from typing import Any

import numpy as np
from ase.spacegroup import crystal

ELEMENTS = (8, 12, 20, 21, 38, 41, 73)  # O Mg Ca Sc Sr Nb Ta

_PLAIN: dict[str, Any] = {
    "interaction_cls_first": "RealAgnosticInteractionBlock",
    "interaction_cls": "RealAgnosticResidualInteractionBlock",
}
_DENSITY: dict[str, Any] = {
    "interaction_cls_first": "RealAgnosticDensityInteractionBlock",
    "interaction_cls": "RealAgnosticDensityResidualInteractionBlock",
    "distance_transform": "Agnesi",
}
_NONLINEAR: dict[str, Any] = {
    "interaction_cls_first": "RealAgnosticResidualNonLinearInteractionBlock",
    "interaction_cls": "RealAgnosticResidualNonLinearInteractionBlock",
    "use_agnostic_product": True,
    "edge_irreps": "8x0e+8x1o",
    "apply_cutoff": False,
    "readout_cls": "NonLinearBiasReadoutBlock",
    "use_last_readout_only": True,
}

FAMILIES: dict[str, dict[str, Any]] = {
    "plain": _PLAIN,
    "plain, vectors, three layers": {
        **_PLAIN,
        "hidden_irreps": "8x0e+8x1o",
        "num_interactions": 3,
        "correlation": [3, 2, 2],
    },
    "residual first": {
        "interaction_cls_first": "RealAgnosticResidualInteractionBlock",
        "interaction_cls": "RealAgnosticResidualInteractionBlock",
        "gate": "tanh",
    },
    "density, Agnesi": _DENSITY,
    "density, Agnesi, vectors, ZBL": {
        **_DENSITY,
        "hidden_irreps": "8x0e+8x1o",
        "pair_repulsion": True,
    },
    "density residual first, cutoff kept apart": {
        **_DENSITY,
        "interaction_cls_first": "RealAgnosticDensityResidualInteractionBlock",
        "distance_transform": "Soft",
        "apply_cutoff": False,
    },
    "non-linear, agnostic product": _NONLINEAR,
    "non-linear, two heads, ZBL": {
        **_NONLINEAR,
        "hidden_irreps": "8x0e+8x1o",
        "pair_repulsion": True,
        "distance_transform": "Agnesi",
        "heads": ["matpes", "omat"],
    },
    "attention": {
        "interaction_cls_first": "RealAgnosticAttResidualInteractionBlock",
        "interaction_cls": "RealAgnosticAttResidualInteractionBlock",
    },
    "plain, two heads, ZBL, Gaussian": {
        **_PLAIN,
        "pair_repulsion": True,
        "radial_type": "gaussian",
        "heads": ["Default", "other"],
    },
    "without scale and shift": {**_PLAIN, "pair_repulsion": True, "class": "MACE"},
}


@functools.cache
def random_model(family: str, dtype: str = "float64", r_max: float = 4.5, seed: int = 7) -> Any:
    """A model with random weights; every call returns the same object, which must not be changed.

    All parameters that mace starts at special values (zero biases, ``beta`` = 0, nearly zero
    embeddings) are moved away from them, so that no term of the energy is idle; forces on a rattled
    perovskite are brought to 1 eV/Å.
    """
    from alchemc.potentials._mace import default_dtype, import_mace

    modules = import_mace()
    import torch
    from e3nn import o3

    options = {
        "class": "ScaleShiftMACE",
        "hidden_irreps": "8x0e",
        "num_interactions": 2,
        "correlation": 2,
        "gate": "silu",
        **FAMILIES[family],
    }
    for key in ("interaction_cls_first", "interaction_cls"):
        options[key] = modules.interaction_classes[options[key]]
    for key in ("hidden_irreps", "edge_irreps"):
        if key in options:
            options[key] = o3.Irreps(options[key])
    if "readout_cls" in options:
        options["readout_cls"] = modules.readout_classes[options["readout_cls"]]
    options["gate"] = modules.gate_dict[options["gate"]]
    n_heads = len(options.get("heads", ["Default"]))
    rng = np.random.default_rng(seed)
    per_head = (n_heads,) if n_heads > 1 else ()
    cls = {"MACE": modules.MACE, "ScaleShiftMACE": modules.ScaleShiftMACE}[options.pop("class")]
    if cls is modules.ScaleShiftMACE:
        options["atomic_inter_scale"] = rng.uniform(3.0, 6.0, per_head)
        options["atomic_inter_shift"] = rng.uniform(-0.3, 0.3, per_head)
    with (
        warnings.catch_warnings(),
        default_dtype(dtype),
        torch.random.fork_rng(devices=[]),
    ):
        warnings.simplefilter("ignore")
        torch.manual_seed(seed)
        model = cls(
            r_max=r_max,
            num_bessel=6,
            num_polynomial_cutoff=5,
            max_ell=2,
            num_elements=len(ELEMENTS),
            MLP_irreps=o3.Irreps("8x0e"),
            atomic_energies=rng.uniform(-9.0, -1.0, (*per_head, len(ELEMENTS))),
            avg_num_neighbors=2.7,
            atomic_numbers=list(ELEMENTS),
            radial_MLP=[16, 16],
            **options,
        )
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if name.endswith("alpha"):  # mace's 20 would damp the messages
                    parameter.fill_(2.0)
                special = name.endswith(("alpha", "beta", "bias")) or "_embedding" in name
                if special and parameter.numel():
                    parameter.add_(0.4 * torch.randn_like(parameter))
    _calibrate(model, dtype)
    return model.requires_grad_(False).eval()


def _calibrate(model: Any, dtype: str) -> None:
    """Scale the readouts of all heads so that the forces are of the size of real ones."""
    import torch

    atoms = crystal(
        ["Sr", "Nb", "O"],
        [(0, 0, 0), (0.5, 0.5, 0.5), (0.5, 0.5, 0)],
        spacegroup=221,
        cellpar=[4.0, 4.0, 4.0, 90, 90, 90],
        size=(2, 1, 1),
    )
    atoms.rattle(0.1, seed=1)
    atoms.calc = stock_calculator(model, dtype)
    rms = np.sqrt(np.mean(atoms.get_forces() ** 2))
    with torch.no_grad():
        for readout in model.readouts:
            last = getattr(readout, "linear_2", None) or readout.linear
            for parameter in last.parameters():
                parameter.mul_(1.0 / rms)


def stock_calculator(model: Any, dtype: str = "float64", head: str | None = None) -> Any:
    """mace-torch's own calculator; by default of the first head."""
    from alchemc.potentials._mace import import_mace

    head = head or (getattr(model, "heads", None) or ["Default"])[0]
    calculators = import_mace("mace.calculators")
    return calculators.MACECalculator(models=[model], default_dtype=dtype, head=head)
