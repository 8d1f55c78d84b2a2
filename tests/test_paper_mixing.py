"""The published mixing rule against its definition: whole worlds put together by hand.

The rule is that of Nam, Peng and Gómez-Bombarelli, Nat. Commun. 16, 4350 (2025), for one
composition variable shared by all sites. Nothing here is statistical.
"""

import numpy as np
import pytest
from ase import Atoms
from ase.neighborlist import neighbor_list

from alchemc import AlchemicalMACE, builders
from mace_families import random_model


@pytest.fixture(autouse=True)
def without_content_hash(monkeypatch):
    """Naming a module by its content rebuilds it, which takes longer than the test."""
    monkeypatch.setattr("alchemc.potentials.storage.content_sha256", lambda model: "0" * 64)


def two_worlds(model, lattice, positions, fractions, weighted="to spectators"):
    """Energy of whole worlds that share their spectators, by the stock model on one graph.

    World k holds species k on every site. Neighbours are ASE's; the graph has a node for every
    spectator and for every (site, world). Edges between sites stay within a world. A message from
    a site of world k to a spectator is multiplied by the fraction of k, all others by one; nodes'
    energies are multiplied by the fraction of their world.
    """
    import torch

    numbers, cell = [int(z) for z in model.atomic_numbers], lattice.atoms.cell.array
    spectators = [int(i) for i in lattice.spectators]
    nodes = [(i, None) for i in spectators]
    nodes += [(int(i), k) for i in lattice.sites for k in range(len(fractions))]
    of_atom = {}
    for index, (atom, world) in enumerate(nodes):
        of_atom.setdefault(atom, []).append((index, world))
    species = lattice.atomic_numbers[0]
    attrs = torch.zeros(len(nodes), len(numbers), dtype=torch.float64)
    for index, (atom, world) in enumerate(nodes):
        z = int(lattice.atoms.numbers[atom]) if world is None else int(species[world])
        attrs[index, numbers.index(z)] = 1.0
    bare = Atoms("H" * len(positions), positions=positions, cell=cell, pbc=True)
    i, j, shifts = neighbor_list("ijS", bare, float(model.r_max))
    edges, offsets, weights = [], [], []
    for sender, receiver, shift in zip(j, i, shifts, strict=True):
        for one, from_world in of_atom[sender]:
            for other, to_world in of_atom[receiver]:
                if None not in (from_world, to_world) and from_world != to_world:
                    continue
                edges.append((one, other))
                offsets.append(-shift)
                to_spectator = from_world is not None and to_world is None
                scaled = to_spectator if weighted == "to spectators" else from_world is not None
                weights.append(fractions[from_world] if scaled else 1.0)
    w = torch.tensor(weights, dtype=torch.float64)[:, None]
    hooks = [
        block.conv_tp.register_forward_hook(lambda _module, _inputs, messages: messages * w)
        for block in model.interactions
    ]
    unit = torch.tensor(np.array(offsets), dtype=torch.float64)
    box = torch.tensor(np.array(cell), dtype=torch.float64)
    try:
        found = model(
            {
                "positions": torch.tensor(np.array(positions)[[a for a, _ in nodes]]),
                "node_attrs": attrs,
                "edge_index": torch.tensor(edges).T,
                "shifts": unit @ box,
                "unit_shifts": unit,
                "cell": box,
                "batch": torch.zeros(len(nodes), dtype=torch.int64),
                "ptr": torch.tensor([0, len(nodes)]),
                "head": torch.zeros(1, dtype=torch.int64),
            },
            compute_force=False,
        )
    finally:
        for hook in hooks:
            hook.remove()
    share = np.array([1.0 if world is None else fractions[world] for _, world in nodes])
    return float(found["node_energy"].detach().numpy() @ share)


@pytest.mark.parametrize(
    ("family", "fractions"),
    [
        ("plain", (0.3, 0.7)),
        ("plain, vectors, three layers", (0.2, 0.3, 0.5)),
        ("residual first", (0.6, 0.4)),
    ],
)
def test_paper_mixing_is_the_two_world_graph_built_by_hand(family, fractions):
    species = ("Sc", "Nb", "Ta")[: len(fractions)]
    lattice = builders.perovskite("Sr", species, "O", a=4.0, size=(2, 1, 1))
    model = random_model(family)
    positions = lattice.displaced_positions(0.08, seed=4)
    alchemical = AlchemicalMACE(lattice, model, device="cpu", positions=positions)
    lam = np.tile(fractions, (lattice.n_sites, 1))
    exact = two_worlds(model, lattice, positions, fractions)
    found = alchemical.mixed_energy(lam, forces=False, stress=False, mixing="paper")
    assert found.energy == pytest.approx(exact, abs=1e-9)
    with_forces = alchemical.mixed_energy(lam, mixing="paper")
    assert with_forces.energy == pytest.approx(exact, abs=1e-9)
    step = 1e-4
    contrast = step * (np.eye(len(fractions))[1] - np.eye(len(fractions))[0])
    low = two_worlds(model, lattice, positions, np.array(fractions) - contrast)
    high = two_worlds(model, lattice, positions, np.array(fractions) + contrast)
    slope = (with_forces.gradient[:, 1] - with_forces.gradient[:, 0]).sum()
    assert slope == pytest.approx((high - low) / (2 * step), abs=1e-5)
    # Were messages between sites weighted too, or all edges kept, it would be seen.
    wrong = two_worlds(model, lattice, positions, fractions, weighted="from every site")
    sites = alchemical.mixed_energy(lam, forces=False, stress=False).energy
    assert min(abs(wrong - exact), abs(sites - exact)) > 1e-4
