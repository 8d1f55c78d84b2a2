"""Replica exchange through the rock-salt order of Pb(Sc,Ta)O3, with the bundled potential.

``python examples/tempering.py [--size 4] [--draws 200] [--chains 4]``: a ladder of temperatures
from below the ordering temperature to above it, tuned in warm-up; then what each temperature holds,
and how often replicas went from end to end and back.
"""

import argparse

import numpy as np

from alchemc import AlchemicalMACE, Canonical, RandomSwap, Tempering, analysis, builders, sample


def main(arguments: list[str] | None = None) -> None:
    """Run the ladder and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=2, help="cells along every axis, even")
    parser.add_argument("--draws", type=int, default=500, help="draws per chain and rung")
    parser.add_argument("--chains", type=int, default=4, help="ladders that run side by side")
    options = parser.parse_args(arguments)

    size = (options.size, options.size, options.size)
    lattice = builders.perovskite("Pb", ("Sc", "Ta"), "O", a=4.09, size=size)
    mace = AlchemicalMACE(lattice, "bundled", device="cpu")
    swaps = RandomSwap(mace, Canonical(lattice, temperature=3200.0))
    ladder = Tempering(swaps, temperatures=np.geomspace(3200.0, 9000.0, 5), steps=lattice.n_sites)
    start = lattice.random({"B": {"Sc": 0.5, "Ta": 0.5}}, np.random.default_rng(1))
    run = sample(
        ladder, start, n_replicas=options.chains, n_steps=options.draws, seed=1,
        warmup=options.draws // 4,
    )  # fmt: skip

    print("   T (K)    energy (eV)        rock-salt |ψ|²")
    for point in run.points:
        energy = analysis.mean_energy(point.energy.values)
        order = analysis.ordering_amplitude(lattice, point.occupation, "rock-salt")
        print(
            f"{float(point.temperature):8.0f}  {energy.mean:9.3f} ± {energy.error:.3f}  "
            f"{float(order['mean']):8.3f} ± {float(order['error']):.3f}"
        )
    trips = analysis.round_trips(run)
    rates = ", ".join(f"{rate:.2f}" for rate in trips.exchange_rates)
    print(f"exchange rates between neighbours: {rates}")
    print(f"{trips.total} round trips, one in {trips.mean_time:.0f} ± {trips.error:.0f} exchanges")


if __name__ == "__main__":
    main()
