"""Lattice constant and rock-salt order of (Ca,Sr)TiO3 at zero pressure, atoms and cell moving.

``python examples/hybrid.py [--temperatures 1200 600] [--blocks 200] [--chains 2]``: blocks of a
surrogate chain at fixed positions alternate with trajectories and volume moves at a fixed
occupation, all exact. A cell of 40 atoms and the bundled potential; some five minutes.
"""

import argparse

import numpy as np

from alchemc import AlchemicalMACE, Canonical, HybridMD, SurrogateChain, analysis, builders, sample
from alchemc.ensembles import HMC
from alchemc.statistics import summary


def main(arguments: list[str] | None = None) -> None:
    """Run the temperatures and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--temperatures", type=float, nargs="+", default=[1200.0, 600.0])
    parser.add_argument("--blocks", type=int, default=200, help="blocks of each kind per chain")
    parser.add_argument("--chains", type=int, default=2)
    parser.add_argument("--size", type=int, default=2, help="cells along every axis, even")
    options = parser.parse_args(arguments)

    size = (options.size,) * 3
    lattice = builders.perovskite(("Ca", "Sr"), "Ti", "O", a=3.95, size=size)
    mace = AlchemicalMACE(lattice, "bundled", device="cpu")
    start = lattice.random({"A": {"Ca": 0.5, "Sr": 0.5}}, np.random.default_rng(1))
    names = ("T (K)", "a (Å)", "energy (eV)", "rock-salt |ψ|²", "trajectories", "surrogate")
    print(" " * 66 + "accepted share of")
    print("  ".join(f"{n:>{w}}" for n, w in zip(names, (8, 17, 16, 15, 12, 9), strict=True)))
    for temperature in options.temperatures:
        kernel = HybridMD(
            SurrogateChain(mace, Canonical(lattice, temperature)),
            HMC(step=3.0, n_steps=10, pressure=0.0),
            occupation_steps=4,
        )
        run = sample(
            kernel, start, n_replicas=options.chains, n_steps=options.blocks, seed=1,
            warmup=max(4, options.blocks // 4),
        )  # fmt: skip
        point = run.samples
        edge = np.cbrt(np.abs(np.linalg.det(point.cell.values)) / lattice.n_sites)
        a, energy = summary(edge), summary(point.energy.values)
        order = analysis.ordering_amplitude(lattice, point.occupation, "rock-salt")
        moves = run.attrs["warm_up"]["parameters"]["positions"]["acceptance"]
        print(
            f"{temperature:8.0f}  {a.mean:8.4f} ± {a.error:.4f}  {energy.mean:9.2f} ± "
            f"{energy.error:.2f}  {float(order['mean']):7.3f} ± {float(order['error']):.3f}  "
            f"{moves:12.2f}  {float(point.acceptance.mean()):9.2f}"
        )


if __name__ == "__main__":
    main()
