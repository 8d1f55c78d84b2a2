"""What bias a quasirandom structure of Pb(Sc,Ta)O3 carries, and how little a quasi-ordered one.

``python examples/sqs.py [--size 4] [--temperatures 4500 6000 9000]``. The energy is a pair
interaction taken from the alchemical derivatives of the bundled potential, so that sampling takes
seconds. Structures that match the mean cluster vector of the ensemble at the lowest temperature
stand for that temperature as quasirandom ones stand for a random crystal.
"""

import argparse

import numpy as np

from alchemc import AlchemicalMACE, Canonical, RandomSwap, Run, analysis, builders, sample
from alchemc.potentials import taylor_expansion


def main(arguments: list[str] | None = None) -> None:
    """Sample, compare with quasirandom structures, then with quasi-ordered ones."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=4, help="cells along every axis, even")
    parser.add_argument("--temperatures", type=float, nargs="+", default=[4500, 6000, 9000])
    parser.add_argument("--draws", type=int, default=1000, help="per chain, of four chains")
    parser.add_argument("--structures", type=int, default=4)
    options = parser.parse_args(arguments)

    size = (options.size, options.size, options.size)
    lattice = builders.perovskite("Pb", ("Sc", "Ta"), "O", a=4.08, size=size)
    half = {"B": {"Sc": 0.5, "Ta": 0.5}}
    mace = AlchemicalMACE(lattice, "bundled", device="cpu")
    pairs = taylor_expansion(mace, lattice.mean_weights(half))
    start = lattice.random(half, np.random.default_rng(1))

    points = []
    for kelvin in sorted(options.temperatures, reverse=True):
        swaps = RandomSwap(pairs, Canonical(lattice, kelvin))
        thin = 20 * lattice.n_sites
        one = sample(swaps, start, n_replicas=4, n_steps=options.draws * thin, thin=thin, seed=1)
        points += one.points
        start = points[-1]["occupation"].to_numpy()[-1].astype(np.int8)
    run = Run(tuple(points), lattice)

    quasirandom = analysis.generate_sqs(lattice, half, n=options.structures, seed=1)
    for line in analysis.compare_sqs(run, quasirandom, pairs, seed=1).sentences:
        print(line)

    every = max(1, options.draws // 200)
    coldest = run.points[-1]["occupation"].to_numpy()[::every].reshape(-1, lattice.n_sites)
    mean = analysis.measured_sqs(lattice, coldest.astype(np.int8)).vectors.mean(axis=0)
    quasiordered = analysis.generate_sqs(lattice, half, n=options.structures, seed=1, target=mean)
    print("\nof structures that match the mean cluster vector of the lowest temperature:")
    found = analysis.compare_sqs(run, quasiordered, pairs, seed=1).quantity("energy")
    for point in found.points:
        bias, error = 1e3 * point.bias, 1e3 * point.bias_error
        print(f"{point.temperature:6.0f} K: bias {bias:+7.1f} ± {error:.1f} meV per site")


if __name__ == "__main__":
    main()
