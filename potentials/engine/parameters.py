"""What the compiled engine needs of a MACE model, read off its blocks as plain arrays."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from .._mace import MaceModule, import_mace
from .polynomials import Polynomials, read_contraction

__all__ = ["Layer", "Mixing", "Parameters", "ReadOut", "read_parameters"]

_PLAIN = "RealAgnosticInteractionBlock"
_RESIDUAL = "RealAgnosticResidualInteractionBlock"
_DENSITY = "RealAgnosticDensityInteractionBlock"
_DENSITY_RESIDUAL = "RealAgnosticDensityResidualInteractionBlock"
_GATES = {"silu": 1, "tanh": 2}


@dataclass(frozen=True)
class Mixing:
    """A linear map of channels within components, per element if need be.

    ``matrices`` [n_elements or 1, n, C_in, C_out]; ``entries`` int32 [m, 3]: component in,
    component out, matrix; ``n_out`` components come out.
    """

    matrices: np.ndarray
    entries: np.ndarray
    n_out: int

    def transposed(self, n_in: int) -> Mixing:
        """Return the adjoint map, onto ``n_in`` components."""
        turned = self.entries[:, [1, 0, 2]]
        turned = turned[np.lexsort((turned[:, 0], turned[:, 1]))]
        matrices = np.ascontiguousarray(np.swapaxes(self.matrices, 2, 3))
        return Mixing(matrices, np.ascontiguousarray(turned), n_in)


@dataclass(frozen=True)
class ReadOut:
    """Site energy of scalar features: hidden · gate(into^T x)."""

    into: np.ndarray
    gate: int
    constant: float
    hidden: np.ndarray


@dataclass(frozen=True)
class Layer:
    """One interaction and product.

    ``paths`` int32 [n, 3]: radial weight, component of the sender and of the message;
    ``couplings`` [n, n_harmonics] turn spherical harmonics into their coefficients. ``skip`` acts
    per element: on the message if ``skip_message``, else on the receiver's features of before.
    """

    up: Mixing
    paths: np.ndarray
    couplings: np.ndarray
    n_mid: int
    linear: Mixing
    density: bool
    skip: Mixing | None
    skip_message: bool
    product: Polynomials
    down: Mixing
    read_out: ReadOut | None


@dataclass(frozen=True)
class Parameters:
    """A whole model for the elements of a lattice, in its order.

    ``embedding`` [n_elements, 1, C]; ``isolated`` [n_elements], eV.
    """

    embedding: np.ndarray
    layers: tuple[Layer, ...]
    scale: float
    shift: float
    isolated: np.ndarray


def read_parameters(
    model: MaceModule, head: int, elements: np.ndarray, dtype: str
) -> Parameters | None:
    """Parameters for some elements (indices of the model's), or None where it is not covered.

    Covered are the plain and the density-normalised interactions of mace-torch, residual or not,
    with contractions of up to three factors and linear or gated readouts.
    """
    if not _covered(model):
        return None
    real = np.dtype(dtype)
    one_hot = torch.eye(len(model.atomic_numbers), dtype=next(model.parameters()).dtype)
    one_hot = one_hot.to(next(model.parameters()).device)[torch.as_tensor(elements)]
    layers = []
    readouts: list[MaceModule | None] = list(model.readouts)
    readouts = [None] * (len(model.interactions) - len(readouts)) + readouts
    for block, product, readout in zip(model.interactions, model.products, readouts, strict=True):
        layer = _read_layer(block, product, readout, head=head, one_hot=one_hot, real=real)
        if layer is None:
            return None
        layers.append(layer)
    scale, shift = 1.0, 0.0
    if hasattr(model, "scale_shift"):
        scale = float(torch.atleast_1d(model.scale_shift.scale)[head])
        shift = float(torch.atleast_1d(model.scale_shift.shift)[head])
    embedding = model.node_embedding(one_hot).detach().cpu().numpy()
    isolated = model.atomic_energies_fn(one_hot)[:, head].detach().cpu().double().numpy()
    return Parameters(
        np.ascontiguousarray(embedding[:, None, :], dtype=real),
        tuple(layers),
        scale,
        shift,
        isolated,
    )


def _covered(model: MaceModule) -> bool:
    names = {type(block).__name__ for block in model.interactions}
    if not names <= {_PLAIN, _RESIDUAL, _DENSITY, _DENSITY_RESIDUAL}:
        return False
    if not {type(r).__name__ for r in model.readouts} <= {
        "LinearReadoutBlock",
        "NonLinearReadoutBlock",
    }:
        return False
    return all(_one_width(block) for block in model.interactions)


def _one_width(block: MaceModule) -> bool:
    """Whether all irreps of a block have as many channels, and messages those of their senders."""
    irreps = [
        block.node_feats_irreps,
        block.edge_irreps,
        block.linear.irreps_out,
        block.conv_tp.irreps_out,
    ]
    widths = {mul for some in irreps for mul, _ in some}
    return len(widths) == 1


def _read_layer(
    block: MaceModule,
    product: MaceModule,
    readout: MaceModule | None,
    *,
    head: int,
    one_hot: torch.Tensor,
    real: np.dtype,
) -> Layer | None:
    name = type(block).__name__
    polynomials = read_contraction(product, one_hot.argmax(dim=1).cpu().numpy())
    if polynomials is None:
        return None
    dense = name in (_DENSITY, _DENSITY_RESIDUAL)
    skip_message = name in (_PLAIN, _DENSITY)
    paths, couplings = _read_paths(block.conv_tp)
    linear = _mixing(block.linear, block.linear.irreps_in, block.linear.irreps_out, one_hot, real)
    if not dense:
        scaled = (linear.matrices / real.type(block.avg_num_neighbors)).astype(real)
        linear = Mixing(scaled, linear.entries, linear.n_out)
    skip_in, skip_out = block.skip_tp.irreps_in1, block.skip_tp.irreps_out
    skip = _mixing(block.skip_tp, skip_in, skip_out, one_hot, real, per_element=True)
    target = product.linear.irreps_in
    read = None
    if readout is not None:
        read = _read_readout(readout, head, real)
        if read is None:
            return None
    up = _mixing(
        block.linear_up, block.linear_up.irreps_in, block.linear_up.irreps_out, one_hot, real
    )
    return Layer(
        up=up,
        paths=paths,
        couplings=couplings,
        n_mid=sum(irrep.dim for _, irrep in block.conv_tp.irreps_out),
        linear=linear,
        density=dense,
        skip=skip,
        skip_message=skip_message,
        product=polynomials._replace(weights=np.ascontiguousarray(polynomials.weights, dtype=real)),
        down=_mixing(product.linear, target, product.linear.irreps_out, one_hot, real),
        read_out=read,
    )


def _mixing(
    function: Callable[..., torch.Tensor],
    irreps_in: object,
    irreps_out: object,
    one_hot: torch.Tensor,
    real: np.dtype,
    *,
    per_element: bool = False,
) -> Mixing:
    """Matrices of an equivariant linear map, found by feeding it every channel once."""
    blocks_in, blocks_out = list(irreps_in), list(irreps_out)  # type: ignore[call-overload]
    starts_in = np.cumsum([0, *(mul * ir.dim for mul, ir in blocks_in)])
    starts_out = np.cumsum([0, *(mul * ir.dim for mul, ir in blocks_out)])
    components_in = np.cumsum([0, *(ir.dim for _, ir in blocks_in)])
    components_out = np.cumsum([0, *(ir.dim for _, ir in blocks_out)])
    n_elements = len(one_hot) if per_element else 1
    entries: list[tuple[int, int, int]] = []
    matrices: list[np.ndarray] = []
    for a, (mul, ir) in enumerate(blocks_in):
        probe = torch.zeros(mul, int(starts_in[-1]), dtype=one_hot.dtype, device=one_hot.device)
        probe[torch.arange(mul), int(starts_in[a]) + ir.dim * torch.arange(mul)] = 1.0
        found = []
        for e in range(n_elements):
            given = (probe, one_hot[e].expand(mul, -1)) if per_element else (probe,)
            found.append(function(*given).detach().cpu().numpy())
        for b, (mul_out, ir_out) in enumerate(blocks_out):
            if ir_out != ir:
                continue
            columns = starts_out[b] + ir.dim * np.arange(mul_out)
            entries += [
                (components_in[a] + m, components_out[b] + m, len(matrices)) for m in range(ir.dim)
            ]
            matrices.append(np.array([one[:, columns] for one in found]))
    order = sorted(entries, key=lambda entry: (entry[1], entry[0]))
    stacked = np.ascontiguousarray(np.moveaxis(np.array(matrices), 0, 1), dtype=real)
    return Mixing(stacked, np.array(order, dtype=np.int32), int(components_out[-1]))


def _read_paths(convolution: MaceModule) -> tuple[np.ndarray, np.ndarray]:
    """Couplings of the convolution, sorted by path and sender's component."""
    import_mace()
    from e3nn import o3  # noqa: PLC0415

    first, second, third = convolution.irreps_in1, convolution.irreps_in2, convolution.irreps_out
    begin = [np.cumsum([0, *(ir.dim for _, ir in irreps)]) for irreps in (first, second, third)]
    rows: dict[tuple[int, int, int], np.ndarray] = {}
    for path, ins in enumerate(convolution.instructions):
        a, b, c = ins.i_in1, ins.i_in2, ins.i_out
        ls = (first[a].ir.l, second[b].ir.l, third[c].ir.l)
        symbol = o3.wigner_3j(*ls, dtype=torch.float64).numpy() * ins.path_weight
        for m1, m2, m3 in np.argwhere(np.abs(symbol) > 1e-12):
            key = (path, int(begin[0][a] + m1), int(begin[2][c] + m3))
            row = rows.setdefault(key, np.zeros(int(begin[1][-1])))
            row[int(begin[1][b] + m2)] += symbol[m1, m2, m3]
    keys = sorted(rows)
    return np.array(keys, dtype=np.int32), np.array([rows[key] for key in keys])


def _read_readout(readout: MaceModule, head: int, real: np.dtype) -> ReadOut | None:
    """Readout of one head as two matrices; the other heads' hidden units are left out."""
    if type(readout).__name__ == "LinearReadoutBlock":
        into = _columns(readout.linear, real)[:, [head]]
        return ReadOut(np.ascontiguousarray(into), 0, 1.0, np.ones(1, dtype=real))
    act = readout.non_linearity.acts[0]
    if act is None:
        gate, constant = 0, 1.0
    else:
        name = getattr(act.f, "__name__", "")
        if name not in _GATES:
            return None
        gate, constant = _GATES[name], float(act.cst)
    into = _columns(readout.linear_1, real)
    hidden = _columns(readout.linear_2, real)[:, head]
    if readout.num_heads > 1:
        own = np.arange(len(hidden)) // (len(hidden) // readout.num_heads) == head
        into, hidden = into[:, own], hidden[own]
    if gate == 0:
        into, hidden = into @ hidden[:, None], np.ones(1, dtype=real)
    return ReadOut(
        np.ascontiguousarray(into, dtype=real), gate, constant, np.ascontiguousarray(hidden)
    )


def _columns(linear: MaceModule, real: np.dtype) -> np.ndarray:
    """Matrix from the scalars that come first to all that comes out."""
    scalars = linear.irreps_in[0].mul
    probe = torch.zeros(
        scalars, linear.irreps_in.dim, dtype=linear.weight.dtype, device=linear.weight.device
    )
    probe[torch.arange(scalars), torch.arange(scalars)] = 1.0
    return np.asarray(linear(probe).detach().cpu().numpy(), dtype=real)
