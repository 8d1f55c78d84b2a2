"""Lattices for CHGNet, the stock model in both precisions, and an explicit alchemical graph.

The explicit graph is built by loops and run through chgnet's own layers, so that it shares no line
with the package but the names of the nodes.
"""

import copy
import functools

import numpy as np
import torch
from ase.neighborlist import neighbor_list

from alchemc import builders
from alchemc.potentials import AlchemicalCHGNet


@functools.cache
def lattice_of(name):
    if name == "perovskite":
        return builders.perovskite("Pb", ("Sc", "Ta"), "O", a=4.08, size=(2, 2, 1))
    if name == "rock salt":
        return builders.rocksalt(("Mg", "Ni"), "O", a=4.2)
    if name == "one cell, three species, vacancies":  # every atom sees its own images
        return builders.perovskite("Sr", ("Mn", "Ti", "X"), ("O", "X"), a=3.9)
    assert name == "two sublattices"
    return builders.perovskite(("Sr", "La"), ("Co", "Ti"), "O", a=3.9, size=(2, 1, 1))


LATTICES = ("perovskite", "rock salt", "one cell, three species, vacancies", "two sublattices")
SMALL = ("one cell, three species, vacancies", "two sublattices")


@functools.cache
def hamiltonian_of(name, dtype="float64", model="0.3.0"):
    lattice = lattice_of(name)
    positions = lattice.displaced_positions(0.1, seed=4)
    return AlchemicalCHGNet(lattice, model, device="cpu", dtype=dtype, positions=positions)


def some_occupations(lattice, n, seed=11):
    counts = lattice.allowed.sum(axis=1)
    drawn = np.random.default_rng(seed).integers(0, counts, size=(n, lattice.n_sites))
    return drawn.astype(np.int8)


def interior_point(lattice, seed=3):
    lam = np.random.default_rng(seed).dirichlet(np.ones(lattice.n_species_max), lattice.n_sites)
    lam = np.where(lattice.allowed, lam, 0.0)
    return lam / lam.sum(axis=1, keepdims=True)


# ---- the stock model -------------------------------------------------------------------------


@functools.cache
def stock_calculator(model="0.3.0"):
    from chgnet.model import CHGNet, CHGNetCalculator

    module = CHGNet.load(model_name=model, use_device="cpu", verbose=False)
    return CHGNetCalculator(module, use_device="cpu")


@functools.cache
def stock_in_double():
    return copy.deepcopy(stock_calculator().model).double().requires_grad_(False).eval()


def atoms_of(hamiltonian, occupation):
    """The atoms that are there, and which of the lattice's atoms they are."""
    lattice = hamiltonian.lattice
    atoms = lattice.to_atoms(occupation, positions=hamiltonian.positions, cell=hamiltonian.cell)
    there = np.ones(len(lattice.atoms), dtype=bool)
    there[lattice.sites[lattice.atomic_numbers[np.arange(lattice.n_sites), occupation] == 0]] = 0
    return atoms, there


def double_precision(atoms):
    """Energy, forces and stress of chgnet's own network, run in float64."""
    from chgnet.model.model import BatchedGraph
    from pymatgen.io.ase import AseAtomsAdaptor

    model = stock_in_double()
    structure = AseAtomsAdaptor.get_structure(atoms)
    graph = model.graph_converter(structure)
    graph.lattice = torch.tensor(structure.lattice.matrix)
    graph.atom_frac_coord = torch.tensor(structure.frac_coords).requires_grad_(True)
    graph.neighbor_image = graph.neighbor_image.double()
    batch = BatchedGraph.from_graphs(
        [graph], model.bond_basis_expansion, model.angle_basis_expansion, compute_stress=True
    )
    energy = model._compute(batch)["e"].sum() * len(atoms)
    slopes = torch.autograd.grad(energy, [batch.atom_positions[0], batch.strains[0]])
    isolated = model.composition_model.fc.weight[0, graph.atomic_number - 1].sum()
    return (energy + isolated).item(), -slopes[0].numpy(), slopes[1].numpy() / atoms.get_volume()


# ---- an explicit graph of nodes --------------------------------------------------------------


def explicit_graph(hamiltonian):
    """Directed bonds between nodes and pairs of those with one centre, by loops."""
    atoms = hamiltonian.lattice.atoms.copy()
    atoms.set_cell(hamiltonian.cell)
    atoms.positions = hamiltonian.positions
    nodes_at = [np.flatnonzero(hamiltonian._nodes.atom == a) for a in range(len(atoms))]
    bonds, vectors, places = [], [], []
    for i, j, shift, vector in zip(*neighbor_list("ijSD", atoms, 6.0), strict=True):
        for centre in nodes_at[i]:
            for far in nodes_at[j]:
                bonds.append((int(centre), int(far), tuple(int(s) for s in shift)))
                vectors.append(-vector)
                places.append((int(j), *bonds[-1][2]))
    row = {bond: r for r, bond in enumerate(bonds)}
    reverse = [row[(q, p, tuple(-s for s in shift))] for p, q, shift in bonds]
    undirected = np.minimum(np.arange(len(bonds)), reverse)
    lengths = np.linalg.norm(vectors, axis=1)
    angles = [
        (d, e)
        for d in np.flatnonzero(lengths < 3.0)
        for e in np.flatnonzero(lengths < 3.0)
        if bonds[d][0] == bonds[e][0] and places[d] != places[e]
    ]
    ends = np.array([(p, q) for p, q, _ in bonds])
    return ends, torch.tensor(np.array(vectors)), undirected, np.array(angles)


def explicit_energy(hamiltonian, lam, far_end="other"):
    """E(λ) and its gradient, from chgnet's layers on the explicit graph."""
    model = stock_in_double()
    ends, vectors, undirected, angles = explicit_graph(hamiltonian)
    centre, far = torch.tensor(ends.T.copy())
    one, other = torch.tensor(angles.T.copy())
    undirected = torch.tensor(undirected)
    weights = torch.tensor(hamiltonian._nodes.weights(lam)).requires_grad_(True)
    lengths = torch.linalg.norm(vectors, dim=1)
    bases = model.bond_basis_expansion.rbf_expansion_ag(lengths)
    smooth = model.bond_weights_bg(model.bond_basis_expansion.rbf_expansion_bg(lengths))
    units = vectors / lengths[:, None]
    bends = model.angle_basis_expansion(units[one], units[other])
    numbers = torch.tensor(hamiltonian._numbers)
    atoms, bonds = model.atom_embedding(numbers - 1), model.bond_embedding(bases)
    corners = model.angle_embedding(bends)
    bond_graph = torch.stack([centre[one], undirected[one], undirected[other]], dim=1)
    edge_weights = model.bond_weights_ag(bases) * weights[far, None]
    sender = far[other] if far_end == "other" else far[one]
    for layer in range(4):
        atoms = model.atom_conv_layers[layer](
            atoms, bonds[undirected], edge_weights, torch.stack([centre, far], dim=1),
            torch.arange(len(far)),
        )  # fmt: skip
        if layer == 3:
            break
        bond_layer = model.bond_conv_layers[layer]
        seen = torch.cat([bonds[bond_graph[:, 1]], bonds[bond_graph[:, 2]], corners], dim=1)
        messages = bond_layer.twoBody_bond(torch.cat([seen, atoms[bond_graph[:, 0]]], dim=1))
        messages = messages * smooth[one] * smooth[other] * weights[sender, None]
        sums = torch.zeros_like(bonds).index_add(0, bond_graph[:, 1], messages)
        bonds = bonds + bond_layer.mlp_out(sums)
        corners = model.angle_layers[layer](atoms, bonds, corners, bond_graph)
    energies = model.mlp(model.readout_norm(atoms)).view(-1)
    energy = (weights * (energies + model.composition_model.fc.weight[0, numbers - 1])).sum()
    (slope,) = torch.autograd.grad(energy, weights)
    return energy.item(), hamiltonian._nodes.spread(slope.numpy(), lam.shape)
