"""Enumerate the orders of Sr(Sc,Ta)O3, relax them, and add their vibrations.

``python examples/ground_states.py [--cells 4] [--figure hull.pdf]``. Energies are those of the
bundled potential at relaxed positions and volume; the lowest few half-and-half arrangements then
get their harmonic free energy, and the order among them is printed at several temperatures.
"""

import argparse
from pathlib import Path

import numpy as np

from alchemc import AlchemicalMACE, Relaxed, analysis, builders
from alchemc.analysis.plots import plot_ground_states


def relaxed(lattice):
    """Return the landscape of minima of a cell."""
    model = AlchemicalMACE(lattice, "bundled", device="cpu")
    return Relaxed(model, fmax=0.002, cell="isotropic")


def main(arguments: list[str] | None = None) -> None:
    """Print the hull, and free energies of the lowest arrangements of Sr2ScTaO6."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cells", type=int, default=4, help="most formula units in a cell")
    parser.add_argument("--figure", type=Path, help="where to save a picture of the hull")
    options = parser.parse_args(arguments)

    parent = builders.perovskite("Sr", ("Sc", "Ta"), "O", a=3.98)
    found = analysis.ground_states(parent, relaxed, range(1, options.cells + 1))
    print(found.statement)
    if options.figure is not None:
        plot_ground_states(found).savefig(options.figure)

    half = np.flatnonzero(np.abs(found.composition[:, 0] - 0.5) < 1e-9)
    lowest = half[np.argsort(found.energy_per_site[half])][:3]
    for index in lowest.tolist():
        lattice, occupation = found.occupation(index)
        temperatures = [300.0, 1000.0, 2000.0]
        vibrations = analysis.harmonic_free_energy(
            relaxed(lattice), occupation, temperatures, imaginary="report"
        )
        free = vibrations.table().free_energy.values[0] / lattice.n_sites
        energy, one = vibrations.energies[0] / lattice.n_sites, found.arrangement(index)
        if index == lowest[0]:
            least, still = free, energy
        numbers = ", ".join(
            f"{1000 * x:6.1f} at {t:.0f} K" for x, t in zip(free - least, temperatures, strict=True)
        )
        print(
            f"{one.order or one.space_group:10s} {1000 * (energy - still):6.1f} meV per site "
            f"above the lowest without vibrations; with them {numbers}; "
            f"{vibrations.imaginary[0]} imaginary modes"
        )


if __name__ == "__main__":
    main()
