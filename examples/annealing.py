"""Cool Pb(Sc,Ta)O3 at several rates: what a slow cooling finds and a fast one freezes in.

``python examples/annealing.py [--size 4] [--sweeps 10 100 1000]``. The energy is a pair
interaction taken from the alchemical derivatives of the bundled potential, so that a million swaps
take seconds; the lowest energies found are then evaluated with the potential itself.
"""

import argparse

import numpy as np

from alchemc import AlchemicalMACE, Annealing, Canonical, RandomSwap, analysis, builders, sample
from alchemc.ensembles import lowest
from alchemc.potentials import taylor_expansion


def main(arguments: list[str] | None = None) -> None:
    """Cool at every rate and print what was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=4, help="cells along every axis, even")
    parser.add_argument("--sweeps", type=int, nargs="+", default=[10, 100, 1000])
    parser.add_argument("--chains", type=int, default=8)
    options = parser.parse_args(arguments)

    size = (options.size, options.size, options.size)
    lattice = builders.perovskite("Pb", ("Sc", "Ta"), "O", a=4.09, size=size)
    mace = AlchemicalMACE(lattice, "bundled", device="cpu")
    half = {"B": {"Sc": 0.5, "Ta": 0.5}}
    pairs = taylor_expansion(mace, lattice.mean_weights(half))
    start = lattice.random(half, np.random.default_rng(1))
    swaps = RandomSwap(pairs, Canonical(lattice, temperature=12000.0))

    for sweeps in options.sweeps:
        n_steps = sweeps * lattice.n_sites
        cooling = Annealing(swaps, end=500.0, n_steps=n_steps)
        run = sample(
            cooling, start, n_replicas=options.chains, n_steps=n_steps, thin=lattice.n_sites, seed=1
        )
        best = lowest(run)
        last = run.samples.isel(draw=-1)
        order = analysis.ordering_series(lattice, last.occupation.values[None], "rock-salt")
        energy = mace.energy(best.occupation.astype(np.int8)[None])[0]
        print(
            f"{cooling.cooling_rate * lattice.n_sites:8.2f} K per sweep: lowest energy "
            f"{energy:.3f} eV, found at {best.temperature:.0f} K; "
            f"{int((order > 0.99).sum())} of {options.chains} chains fully ordered at the end"
        )


if __name__ == "__main__":
    main()
