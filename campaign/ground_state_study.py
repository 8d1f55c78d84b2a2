"""Ground states of the crystal of a campaign by enumeration: energies, table, files."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from pathlib import Path

from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write
from rich.box import SIMPLE_HEAD
from rich.table import Table

from ..analysis import GroundStates, ground_states
from ..errors import InputError
from ..lattice import Lattice
from ..protocols import Hamiltonian
from .build import Crystal, build_crystal, build_hamiltonian, resolve
from .config import Config, load_config

__all__ = [
    "ground_states_csv",
    "ground_states_of_campaign",
    "ground_states_table",
    "write_figure",
    "write_structures",
]

COLUMNS = (
    *("formula", "order", "space group", "cells", "variants"),
    *("formation\n(meV/site)", "above\n(meV/site)", "depth\n(meV/site)"),
)


def ground_states_of_campaign(
    path: Path,
    largest: int = 4,
    *,
    every_composition: bool = False,
    neutral: bool = False,
    multiple: int = 1,
    tell: Callable[[str], None] | None = None,
) -> GroundStates:
    """Enumerate the arrangements of a campaign's crystal with its energy model.

    Parameters
    ----------
    path
        A campaign file: its structure, sublattices and potential are used, the relaxed landscape
        where it asks for one.
    largest
        Most primitive cells of an enumerated cell.
    every_composition
        Whether to enumerate all compositions where the campaign fixes one.
    neutral
        Whether to keep only neutral arrangements.
    multiple
        As for `ground_states`: 2 lets octahedra tilt in every cell.
    tell
        Called with a line before each cell is evaluated.

    Raises
    ------
    InputError
        If the campaign cannot be read, asks for displaced positions, or nothing can be enumerated.
    """
    config = load_config(path)
    folder = path.resolve().parent
    if config.structure.displacement > 0:
        raise InputError(
            "structure.displacement moves the atoms of one cell, and enumerated cells are others: "
            "leave it out, or use potential.relax"
        )
    lattice = build_crystal(config, folder).lattice
    config = resolve(config, lattice, folder, seed=0)
    fixed = None
    if config.ensemble.kind == "canonical" and not every_composition:
        fixed = {
            name: dict(section.composition)
            for name, section in config.sublattices.items()
            if section.composition is not None
        }
    build = _builder(config, tell)
    return ground_states(
        lattice, build, range(1, largest + 1), fixed, neutral=neutral, multiple=multiple
    )


def _builder(
    config: Config, tell: Callable[[str], None] | None
) -> Callable[[Lattice], Hamiltonian]:
    seen: list[Lattice] = []

    def build(lattice: Lattice) -> Hamiltonian:
        seen.append(lattice)
        if tell is not None:
            tell(f"cell {len(seen)}: {len(lattice.atoms)} atoms")
        return build_hamiltonian(config, Crystal(lattice, lattice.atoms.get_positions()))

    return build


def ground_states_table(found: GroundStates) -> Table:
    """Ground states and the best arrangements above the hull, energies in meV per site."""
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)
    for name in (*found.labels, *COLUMNS):
        table.add_column(name, justify="left" if name in COLUMNS[:3] else "right")
    said = found.to_dict()
    for row in [*said["ground_states"], *said["next"]]:
        fractions = [f"{row['composition'][name]:.3f}" for name in found.labels]
        energies = ["" if row[f"{key}_per_site"] is None else f"{1000 * row[f'{key}_per_site']:.1f}"
                    for key in ("formation_energy", "above_hull", "depth")]  # fmt: skip
        table.add_row(
            *fractions, row["formula"], row["order"], row["space_group"], str(row["n_cells"]),
            str(row["variants"]), *energies, style=None if row["ground_state"] else "dim",
        )  # fmt: skip
    return table


def ground_states_csv(found: GroundStates) -> str:
    """One row per arrangement, energies in eV per site; empty where there is no number."""
    stream = io.StringIO()
    rows = found.rows()
    writer = csv.DictWriter(stream, fieldnames=list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return stream.getvalue()


def write_figure(found: GroundStates, path: Path) -> None:
    """Save the figure of formation energies; the suffix names the format.

    Raises
    ------
    InputError
        If the file exists or its format is none that matplotlib writes.
    """
    from ..analysis.plots import plot_ground_states  # noqa: PLC0415  (matplotlib is slow)

    _refuse_existing(path)
    figure = plot_ground_states(found)
    formats = figure.canvas.get_supported_filetypes()
    if path.suffix.lstrip(".") not in formats:
        raise InputError(f"{path} has no suffix of a picture; give one of {', '.join(formats)}")
    figure.savefig(path)


def write_structures(found: GroundStates, path: Path, indices: Sequence[int] | None = None) -> int:
    """Write arrangements as extended XYZ, at the positions of the parent, with their energies.

    Parameters
    ----------
    found
        From `ground_states`.
    path
        The file to make.
    indices
        Which; the ground states by default.

    Returns
    -------
    Number of structures.

    Raises
    ------
    InputError
        If the file exists.
    """
    _refuse_existing(path)
    chosen = found.indices.tolist() if indices is None else list(indices)
    write(path, [_labelled(found, index) for index in chosen], format="extxyz")
    return len(chosen)


def _labelled(found: GroundStates, index: int) -> Atoms:
    atoms, one = found.atoms(index), found.arrangement(index)
    lattice, _ = found.occupation(index)
    atoms.calc = SinglePointCalculator(atoms, energy=one.energy_per_site * lattice.n_sites)
    atoms.info |= {
        "order": one.order or one.space_group,
        "above_hull_per_site": one.above_hull_per_site,
        "formation_energy_per_site": one.formation_energy_per_site,
    }
    return atoms


def _refuse_existing(path: Path) -> None:
    if path.exists():
        raise InputError(f"{path} exists and is not overwritten; choose another name")
