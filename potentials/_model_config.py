"""Constructor options of a MACE model, read off a model and turned back into one."""

from __future__ import annotations

import numbers
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch

from ..errors import ModelError
from ._mace import MaceModule, import_mace

__all__ = ["build_model", "constants_of", "model_config"]

_RADIAL = {"BesselBasis": "bessel", "GaussianBasis": "gaussian", "ChebychevBasis": "chebyshev"}
_TRANSFORM = {"AgnesiTransform": "Agnesi", "SoftTransform": "Soft"}
_IRREPS = ("hidden_irreps", "MLP_irreps", "edge_irreps")
_NOT_COMPARED = {"training", "use_reduced_cg", "lammps_mliap"}


def model_config(model: MaceModule) -> dict[str, Any]:
    """JSON-able keyword arguments that rebuild ``model``.

    The model is rebuilt and compared module by module, so that an option this function does not
    know is refused and never lost.

    Raises
    ------
    ModelError
        If the class or an option is not covered.
    """
    name = type(model).__name__
    if name not in ("MACE", "ScaleShiftMACE") or not type(model).__module__.startswith("mace."):
        raise ModelError(f"{name} cannot be stored; MACE and ScaleShiftMACE of mace-torch can")
    if hasattr(model, "joint_embedding"):
        raise ModelError("a MACE model with joint embeddings (charge, spin …) cannot be stored")
    try:
        config = _read_config(model)
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        raise ModelError(f"model cannot be stored: its options are not understood ({error})") from (
            error
        )
    return _with_reduced_basis(model, config)


def build_model(config: Mapping[str, Any]) -> torch.nn.Module:
    """Construct a model with random weights from the result of :func:`model_config`."""
    modules = import_mace()
    from e3nn import o3  # noqa: PLC0415  (only after mace)

    options = dict(config)
    try:
        cls = {"MACE": modules.MACE, "ScaleShiftMACE": modules.ScaleShiftMACE}[options.pop("class")]
        for key in ("interaction_cls", "interaction_cls_first"):
            options[key] = modules.interaction_classes[options[key]]
        options["readout_cls"] = modules.readout_classes[options["readout_cls"]]
        options["gate"] = modules.gate_dict[options["gate"]]
        for key in _IRREPS:
            options[key] = None if options[key] is None else o3.Irreps(options[key])
        options["atomic_energies"] = np.zeros(options.pop("atomic_energies_shape"))
        if "scale_shape" in options:
            zeros = np.zeros(options.pop("scale_shape"))
            options["atomic_inter_scale"] = options["atomic_inter_shift"] = zeros
        return cls(**options)
    except (KeyError, TypeError, ValueError) as error:
        raise ModelError(
            f"mace-torch {import_mace('mace').__version__} cannot build the stored model: {error}"
        ) from error


def constants_of(model: MaceModule) -> dict[str, float]:
    """Plain real numbers kept as attributes of submodules, by dotted path.

    They are normalisation constants (of activations, of the neighbour count) that are in no array.
    """
    found = {}
    for path, module in _own_modules(model):
        for name, value in vars(module).items():
            if (_compared(name) or name.endswith("_cst")) and _is_real(value):
                found[f"{path}.{name}"] = float(value)
    return found


def _read_config(model: MaceModule) -> dict[str, Any]:
    products, interactions, readouts = model.products, model.interactions, model.readouts
    bessel = model.radial_embedding.bessel_fn
    heads = list(getattr(model, "heads", None) or ["Default"])
    hidden = products[0].linear.irreps_out
    last = products[-1].linear.irreps_out
    transform = getattr(model.radial_embedding, "distance_transform", None)
    config: dict[str, Any] = {
        "class": type(model).__name__,
        "r_max": float(model.r_max),
        "num_bessel": int(model.radial_embedding.out_dim),
        "num_polynomial_cutoff": int(model.radial_embedding.cutoff_fn.p),
        "radial_type": _RADIAL[type(bessel).__name__],
        "distance_transform": _TRANSFORM[type(transform).__name__] if transform else "None",
        "apply_cutoff": bool(getattr(model, "apply_cutoff", True)),
        "max_ell": int(model.spherical_harmonics.irreps_out.lmax),
        "use_so3": bool(getattr(model, "use_so3", False)),
        "interaction_cls_first": type(interactions[0]).__name__,
        "interaction_cls": type(interactions[-1]).__name__,
        "num_interactions": int(model.num_interactions),
        "radial_MLP": _radial_mlp(interactions[0]),
        "avg_num_neighbors": float(interactions[0].avg_num_neighbors),
        "atomic_numbers": [int(z) for z in model.atomic_numbers],
        "num_elements": len(model.atomic_numbers),
        "atomic_energies_shape": list(model.atomic_energies_fn.atomic_energies.shape),
        "hidden_irreps": str(hidden),
        "edge_irreps": _text(getattr(model, "edge_irreps", None)),
        "use_edge_irreps_first": bool(getattr(model, "use_edge_irreps_first", False)),
        "correlation": [
            int(product.symmetric_contractions.contractions[0].correlation) for product in products
        ],
        "use_agnostic_product": bool(getattr(model, "use_agnostic_product", False)),
        "use_last_readout_only": bool(getattr(model, "use_last_readout_only", False)),
        "keep_last_layer_irreps": len(products) > 1 and last == hidden,
        "readout_cls": _readout(readouts[-1]),
        "MLP_irreps": _mlp_irreps(readouts[-1], len(heads)),
        "gate": _gate(readouts[-1]),
        "pair_repulsion": hasattr(model, "pair_repulsion_fn"),
        "heads": heads,
    }
    if hasattr(model, "scale_shift"):
        config["scale_shape"] = list(model.scale_shift.scale.shape)
    return config


def _readout(readout: MaceModule) -> str:
    """Class of the non-linear readout; a one-layer model has none and ignores it."""
    name = type(readout).__name__
    return "NonLinearReadoutBlock" if name == "LinearReadoutBlock" else name


def _mlp_irreps(readout: MaceModule, n_heads: int) -> str:
    hidden = getattr(readout, "hidden_irreps", None)
    if hidden is None:
        return "1x0e"
    return "+".join(f"{mul // n_heads}x{irrep}" for mul, irrep in hidden)


def _gate(readout: MaceModule) -> str:
    if not hasattr(readout, "non_linearity"):
        return "silu"
    act = readout.non_linearity.acts[0]
    if act is None:
        return "None"
    known = {function: name for name, function in import_mace().gate_dict.items() if function}
    if act.f not in known:
        raise ValueError(f"gate {act.f!r}")
    return known[act.f]


def _radial_mlp(interaction: MaceModule) -> list[int]:
    widths = getattr(interaction, "radial_MLP", None) or interaction.conv_tp_weights.hs[1:-1]
    return [int(width) for width in widths]


def _text(irreps: Any) -> str | None:
    return None if irreps is None else str(irreps)


def _with_reduced_basis(model: MaceModule, config: dict[str, Any]) -> dict[str, Any]:
    """Settle ``use_reduced_cg``, whose effect depends on what was installed at construction."""
    candidates = [{**config, "use_reduced_cg": reduced} for reduced in (False, True)]
    reasons = []
    for candidate in candidates:
        reasons.append(_difference(model, candidate))
        if not reasons[-1]:
            return candidate
    raise ModelError(f"model cannot be stored: {reasons[0]} is an option that is not covered")


def _difference(model: MaceModule, config: Mapping[str, Any]) -> str:
    """First thing in which a model rebuilt from ``config`` differs from ``model``, or nothing."""
    with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
        warnings.simplefilter("ignore")
        rebuilt = build_model(config)
    shapes = {name: value.shape for name, value in model.state_dict().items()}
    rebuilt_shapes = {name: value.shape for name, value in rebuilt.state_dict().items()}
    for name in sorted(shapes.keys() | rebuilt_shapes.keys()):
        if shapes.get(name) != rebuilt_shapes.get(name):
            return f"array {name} of shape {shapes.get(name)}"
    ours, theirs = _signature(model), _signature(rebuilt)
    for name in sorted(ours.keys() & theirs.keys()):
        if ours[name] != theirs[name]:
            return f"{name} = {ours[name]}"
    classes = {path for path, _ in _own_modules(model)}
    if odd := sorted(classes ^ {path for path, _ in _own_modules(rebuilt)}):
        return f"submodule {odd[0]}"
    return ""


def _own_modules(model: MaceModule) -> Iterator[tuple[str, torch.nn.Module]]:
    """Submodules written as classes; generated code is fully determined by their options."""
    for path, module in model.named_modules():
        if "_compiled_main" in path or "GraphModule" in type(module).__name__:
            continue
        yield path, module


def _compared(name: str) -> bool:
    return not name.startswith("_") and name not in _NOT_COMPARED


def _signature(model: MaceModule) -> dict[str, str]:
    """Class and every non-real plain attribute of every submodule, as text."""
    found = {}
    for path, module in _own_modules(model):
        found[f"{path}.class"] = type(module).__name__
        for name, value in vars(module).items():
            if _compared(name) and _is_option(value):
                found[f"{path}.{name}"] = str(value)
    return found


def _is_option(value: Any) -> bool:
    """Whether an attribute is an option to compare: whole numbers, names, irreps, lists of them."""
    if value is None or isinstance(value, bool | str | numbers.Integral):
        return True
    if type(value).__name__ == "Irreps":
        return True
    return isinstance(value, list) and all(_is_option(item) for item in value)


def _is_real(value: Any) -> bool:
    if isinstance(value, torch.Tensor):
        return value.ndim == 0
    return isinstance(value, float | np.floating)
