"""Special quasirandom structures of a campaign, a structure file or a run: made, written, shown."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ase.io import write
from rich.box import SIMPLE_HEAD
from rich.table import Table

from ..analysis import SpecialQuasirandom, SQSComparison, compare_sqs, generate_sqs
from ..analysis.sqs.comparison import require_one_composition
from ..analysis.sqs.results import Compared
from ..errors import InputError
from ..lattice import Lattice
from ..potentials import Relaxed
from ..records import Run
from . import build, files
from .config import load_config
from .numbers import compact

__all__ = [
    "bias_rows",
    "compare_run",
    "comparison_tables",
    "finding_of",
    "make_structures",
    "rows_csv",
    "structure_table",
    "value_rows",
    "write_structures",
]

MILLI = 1e3
SUFFIXES = {".extxyz": "extxyz", ".xyz": "extxyz", ".cif": "cif", ".vasp": "vasp", ".traj": "traj"}


def make_structures(
    path: Path,
    *,
    n: int,
    seed: int,
    cutoffs: Sequence[float] | None = None,
    supercell: Sequence[int] | None = None,
) -> SpecialQuasirandom:
    """Make SQS of a campaign file, or of a structure file with partial occupancies.

    Parameters
    ----------
    path
        A campaign (.toml), whose sublattices, composition and supercell are used, or any structure
        that ASE reads.
    n, seed, cutoffs
        As for `analysis.generate_sqs`.
    supercell
        Repetitions of a structure file's cell; a campaign has its own.

    Raises
    ------
    InputError
        If the file cannot be used, a campaign is given a supercell, or its composition does not fit
        the cell.
    """
    if path.suffix == ".toml":
        if supercell is not None:
            raise InputError("a campaign has its own supercell: change it in the file")
        config = load_config(path)
        lattice = build.build_crystal(config, path.parent).lattice
        composition = {**(lattice.composition or {}), **build.composition(config)}
    else:
        lattice = Lattice.from_file(path, supercell=tuple(supercell or (1, 1, 1)))
        composition = dict(lattice.composition or {})
    missing = [name for name in lattice.names if name not in composition]
    if missing:
        raise InputError(
            f"sublattice {missing[0]!r} has no composition: give fractions of its species in the "
            "campaign, or occupancies in the CIF"
        )
    return generate_sqs(lattice, composition, cutoffs, n, seed)


def compare_run(
    run: Run, *, n: int, seed: int, relaxed: bool = False, **options: Any
) -> SQSComparison:
    """Make SQS of a run's composition and compare it with them.

    Parameters
    ----------
    run
        A stored run.
    n, seed
        Number of SQS, and what governs them.
    relaxed
        Relax the SQS and some draws with the run's potential, too; the cell stays.
    options
        Those of `analysis.compare_sqs`.

    Raises
    ------
    InputError
        If the run cannot be compared, or its energies are those of relaxed positions already.
    """
    hamiltonian = run.hamiltonian()
    minima = None
    if relaxed:
        if isinstance(hamiltonian, Relaxed):
            raise InputError(
                "this run was sampled on relaxed positions already: leave --relaxed out"
            )
        minima = Relaxed(hamiltonian)
    drawn = [point for point in run.points if point.sizes.get("draw", 0)]
    if not drawn:
        raise InputError("the run holds no draws yet; let it sample before it is compared")
    require_one_composition(run)
    first = np.asarray(drawn[0]["occupation"].isel(draw=0, chain=0)).astype(np.int8)
    lattice = run.lattice
    composition = {
        name: {s: k / row.sum() for s, k in zip(sublattice.species, row, strict=False)}
        for (name, sublattice), row in zip(
            lattice.sublattices.items(), lattice.counts(first), strict=True
        )
    }
    structures = generate_sqs(lattice, composition, options.pop("cutoffs", None), n, seed)
    return compare_sqs(run, structures, hamiltonian, relaxed=minima, seed=seed, **options)


def write_structures(structures: SpecialQuasirandom, path: Path) -> list[Path]:
    """Write SQS as one file of several frames, or as one file each where the format holds one.

    Parameters
    ----------
    structures
        What to write; energies are not known, the deviations go along in extended XYZ.
    path
        Ends in .extxyz, .xyz, .traj (one file), .cif or .vasp (``name-0.cif`` and so on).

    Returns
    -------
    The files.

    Raises
    ------
    InputError
        If a file exists, its folder does not, or the suffix is not known.
    """
    form = SUFFIXES.get(path.suffix)
    if form is None:
        raise InputError(f"{path.name} does not tell its format; end it with {', '.join(SUFFIXES)}")
    if not path.parent.is_dir():
        raise InputError(f"{path.parent} is no directory; make it first")
    frames = structures.atoms()
    for k, (atoms, row) in enumerate(zip(frames, structures.rows(), strict=True)):
        atoms.info |= {
            "sqs": k,
            "objective": row["objective"],
            "mismatch": row["mismatch"],
            "matched_shells": row["matched_shells"],
        }
    several = form in {"extxyz", "traj"} or len(frames) == 1
    parts = (
        {path: frames}
        if several
        else {path.with_name(f"{path.stem}-{k}{path.suffix}"): [a] for k, a in enumerate(frames)}
    )
    for target in parts:
        if target.exists():
            raise InputError(f"{target} exists and is not overwritten; choose another name")
    for target, part in parts.items():
        draft = files.temporary_name(target)
        try:
            write(draft, part if form in {"extxyz", "traj"} else part[0], format=form)
            files.fsync(draft)
            files.rename(draft, target)
        finally:
            files.remove(draft)
    return list(parts)


def rows_csv(rows: Sequence[Mapping[str, Any]]) -> str:
    r"""Rows as CSV; unknown numbers are left empty.

    Examples
    --------
    >>> rows_csv([{"structure": 0, "mismatch": 0.5, "worst_cluster": None}])
    'structure,mismatch,worst_cluster\n0,0.5,\n'
    """
    stream = io.StringIO()
    writer = csv.DictWriter(stream, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return stream.getvalue()


def structure_table(structures: SpecialQuasirandom) -> Table:
    """How far every SQS is from the target."""
    table = _table("SQS", "objective (Å)", "Σ|ΔΓ|", "shells matched", "largest deviation")
    for row in structures.rows():
        worst = row["worst_cluster"]
        table.add_row(
            str(row["structure"]),
            f"{row['objective']:.4f}",
            f"{row['mismatch']:.4f}",
            f"{row['matched_shells']} of {row['shells']}",
            "none" if worst is None else f"{row['worst_deviation']:+.4f} ({worst})",
        )
    return table


def bias_rows(found: SQSComparison) -> list[dict[str, Any]]:
    """Bias of the SQS by temperature, one column per kind of quantity."""
    rows = _leading(found)
    table = []
    for k, kelvin in enumerate(found.temperatures.tolist()):
        cells: dict[str, Any] = {"T (K)": kelvin}
        for row in rows:
            point, scale = row.points[k], _scale(row)
            cells[f"bias of {_name(row)}"] = {
                "mean": scale * point.bias,
                "error": _known(scale * point.bias_error),
                "converged": bool(point.ensemble.converged),
            }
        table.append(cells)
    return table


def value_rows(found: SQSComparison) -> list[dict[str, Any]]:
    """Values of SQS and random arrangements; energies are counted from the mean of the random."""
    table = []
    for row in _leading(found):
        scale = _scale(row)
        zero = row.random_mean if row.quantity.unit == "eV per site" else 0.0
        crossing = next((one for one in row.representative if one.resolved), None)
        table.append(
            {
                "quantity": _name(row),
                "SQS": _scattered(scale * (row.mean - zero), scale * row.scatter),
                "random": _scattered(scale * (row.random_mean - zero), scale * row.random_spread),
                "representative at (K)": None
                if crossing is None
                else _scattered(crossing.temperature, crossing.error),
            }
        )
    return table


def finding_of(found: SQSComparison) -> dict[str, Any]:
    """Return what is stored of a comparison beside a run: its data, and tables for a report."""
    return {
        "title": "Special quasirandom structures",
        **found.to_dict(),
        "bias": bias_rows(found),
        "values_with_their_scatter": value_rows(found),
    }


def comparison_tables(found: SQSComparison) -> list[Table]:
    """Biases by temperature, and values with their scatter, for the terminal."""
    tables = []
    for rows in (bias_rows(found), value_rows(found)):
        table = _table(*rows[0])
        for row in rows:
            good = all(v.get("converged", True) for v in row.values() if isinstance(v, Mapping))
            table.add_row(*map(_cell, row.values()), style="" if good else "red")
        tables.append(table)
    return tables


def _leading(found: SQSComparison) -> list[Compared]:
    """Return the first quantity of every kind, and every relaxed energy or force."""
    kinds = dict.fromkeys(row.quantity.kind for row in found.quantities)
    kept = [kind for kind in kinds if kind != "cluster"]
    return [found.quantity(kind) for kind in kept]


def _cell(value: Any) -> str:
    if isinstance(value, Mapping):
        exact = value["error"] is None
        return compact({**value, "converged": exact or value.get("converged", False)})
    return "none" if value is None else f"{value:,.6g}" if isinstance(value, float) else str(value)


def _scattered(mean: float, scatter: float) -> dict[str, Any]:
    """Return a value with its scatter; without one where there is none."""
    return {"mean": mean, "error": _known(scatter), "converged": True}


def _known(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _table(*columns: str) -> Table:
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)
    for column in columns:
        table.add_column(column, justify="right")
    return table


def _scale(row: Compared) -> float:
    return MILLI if row.quantity.unit == "eV per site" else 1.0


def _name(row: Compared) -> str:
    unit = {"eV per site": " (meV/site)", "1": ""}.get(row.quantity.unit, f" ({row.quantity.unit})")
    kind = {"warren-cowley": "α", "order": "|ψ|²"}.get(row.quantity.kind, row.quantity.kind)
    return f"{kind} {row.quantity.name}".strip() + unit
