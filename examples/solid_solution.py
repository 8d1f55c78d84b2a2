"""Sr(Ti,Zr)O3: its lattice parameter along x, and the composition that fits a substrate.

``python examples/solid_solution.py [--target 4.05] [--size 2 2 1] [--arrangements 4]``. Mean
crystals of five atoms by two mixing rules, averages over relaxed arrangements, and a search.
"""

import argparse

from alchemc import AlchemicalMACE, Relaxed, analysis, builders

X = [0.0, 0.5, 1.0]


def main(arguments: list[str] | None = None) -> None:
    """Print what mean crystals, arrangements and the search find."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--target", type=float, default=4.05, help="lattice parameter in Å")
    parser.add_argument("--size", type=int, nargs=3, default=[2, 2, 1], help="of the supercell")
    parser.add_argument("--arrangements", type=int, default=4)
    options = parser.parse_args(arguments)

    cell = builders.perovskite("Sr", ("Ti", "Zr"), "O", a=4.04)
    mace = AlchemicalMACE(cell, "bundled", device="cpu")
    means = analysis.lattice_parameters(mace, X, mixings=["sites", "paper"])

    large = builders.perovskite("Sr", ("Ti", "Zr"), "O", a=4.04, size=options.size)
    supercell = AlchemicalMACE(large, "bundled", device="cpu")
    ideal = Relaxed(supercell, cell="full", fmax=0.01, displacement=0.0)  # stays untilted
    averages = analysis.sampled_lattice_parameters(ideal, X, configurations=options.arrangements)
    print(means.beside(averages).statement)

    found = analysis.optimise_composition(mace, {"lattice_parameter": options.target})
    print(found.statement)


if __name__ == "__main__":
    main()
