"""The out-of-domain guard of a run: energies of all draws, forces of a few, told once and logged.

It looks on and changes nothing: a flagged run goes on, and its report says what was found.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ..potentials.domain import (
    DEVIATION,
    FORCE,
    Domain,
    atom_counts,
    domain_of,
    energies_outside,
    reference_energies,
)
from ..protocols import Hamiltonian
from .directory import Record

__all__ = ["DomainGuard", "domain_facts", "summarize"]

MOST_ATOMS = 1500
"""Forces of larger cells are not checked: the graph of a large model, with all that its derivatives
need, takes some 10 MB per atom, many times what its energies take."""
OUTSIDE, FORCES, NOT_RELAXED = "energies outside", "forces checked", "not relaxed"


def domain_facts(hamiltonian: Hamiltonian, starts: np.ndarray, energies: np.ndarray) -> dict:
    """Bounds of a run's energy model as plain values for ``run.toml``.

    Parameters
    ----------
    hamiltonian
        The energy model.
    starts, energies
        The random arrangements [n_chains, n_sites] that the chains start from, and their energies
        [n_chains] in eV: energies of draws are compared with their mean.
    """
    domain: Domain = domain_of(hamiltonian)
    finite = energies[np.isfinite(energies)]
    facts: dict[str, Any] = {
        "source": domain.source,
        "force": domain.force,
        "deviation": domain.deviation,
        "atoms": int(atom_counts(hamiltonian.lattice, starts)[0]),
    }
    if len(finite):
        facts["random_energy"] = float(finite.mean())
    if domain.energy is not None:
        reference = reference_energies(domain, hamiltonian.lattice, starts)[0]
        facts |= {"energy": list(domain.energy), "reference_energy": float(reference)}
    return facts


class DomainGuard:
    """Watches the draws that a run commits.

    Parameters
    ----------
    record
        What the run was started with; runs of versions without a guard have no bounds to compare
        with, and nothing is checked.
    hamiltonian
        Its energy model.
    log
        Called with an event and its details.
    warn
        Called with a line the first time something lies outside at a point.
    """

    def __init__(
        self,
        record: Record,
        hamiltonian: Hamiltonian,
        log: Callable[..., None],
        warn: Callable[[str], None] | None,
    ) -> None:
        self._labels = record.labels
        self._varies = record.config.ensemble.kind != "canonical"
        self._bounds: Mapping[str, Any] | None = record.model.get("domain")
        self._domain = self._of_run(hamiltonian)
        self._hamiltonian = hamiltonian
        self._log, self._warn = log, warn
        self._told: set[tuple[str, int]] = set()
        self._failures = 0

    def _of_run(self, hamiltonian: Hamiltonian) -> Domain:
        """Bounds the run was started with; references of species are those of its model."""
        return replace(_stored(self._bounds or {}), references=domain_of(hamiltonian).references)

    def committed(self, point: int, first: int, block: Mapping[str, np.ndarray]) -> None:
        """Look at draws ``first`` … of a point; its very first ones have their forces checked."""
        self._relaxations(point)
        if self._bounds is None:
            return
        shown, outside = energies_outside(self._domain, block["energy"], **self._compared(block))
        if outside.any():
            worst = shown[outside][np.argmax(np.abs(shown[outside]))]
            details = {"count": int(outside.sum()), "of": int(outside.size), "worst": _plain(worst)}
            self._log(OUTSIDE, point=point, first=first, **details)
            self._tell(OUTSIDE, point, summarize([{"event": OUTSIDE, "point": point, **details}]))
        if first == 0:
            self._forces(point, 0, block["occupation"][0])

    def finished(self, point: int, draw: int, occupations: np.ndarray) -> None:
        """Look at the last draw [n_chains, n_sites] of a point."""
        if self._bounds is not None and draw > 0:
            self._forces(point, draw, occupations)

    def _compared(self, block: Mapping[str, np.ndarray]) -> dict[str, Any]:
        """Return what energies are compared with: of the same atoms, which may differ by draw.

        Energies of other compositions say nothing of what is typical, so only references of the
        model's own are left where the composition fluctuates.
        """
        assert self._bounds is not None  # noqa: S101  (committed)
        if not self._varies:
            return {
                "n_atoms": self._bounds["atoms"],
                "typical": self._bounds.get("random_energy"),
                "references": self._bounds.get("reference_energy"),
            }
        lattice, shape = self._hamiltonian.lattice, block["energy"].shape
        occupations = block["occupation"].reshape(-1, lattice.n_sites)
        references = None
        if self._domain.energy is not None:
            references = reference_energies(self._domain, lattice, occupations).reshape(shape)
        atoms = np.maximum(atom_counts(lattice, occupations), 1).reshape(shape)
        return {"n_atoms": atoms, "typical": None, "references": references}

    def _forces(self, point: int, draw: int, occupations: np.ndarray) -> None:
        too_large = len(self._hamiltonian.lattice.atoms) > MOST_ATOMS
        if too_large or not hasattr(self._hamiltonian, "energy_forces_stress"):
            return
        forces = self._hamiltonian.energy_forces_stress(occupations.astype(np.int8))[1]
        largest = np.abs(forces).max(axis=(1, 2))
        count = int((~(largest <= self._domain.force)).sum())
        details = {"count": count, "of": len(largest), "worst": _plain(largest.max())}
        self._log(FORCES, point=point, first=draw, **details)
        if count:
            self._tell(FORCES, point, summarize([{"event": FORCES, "point": point, **details}]))

    def _relaxations(self, point: int) -> None:
        """Log occupations without a relaxed minimum since the last look: they were refused."""
        failures = getattr(self._hamiltonian, "failures", None)
        if failures is None or failures.number <= self._failures:
            return
        count, self._failures = failures.number - self._failures, failures.number
        self._log(NOT_RELAXED, point=point, count=count, reason=str(failures.problems[-1]))

    def _tell(self, what: str, point: int, found: Sequence[Mapping[str, Any]]) -> None:
        if self._warn is None or (what, point) in self._told:
            return
        self._told.add((what, point))
        kind, value = ("energies", "eV per atom") if what == OUTSIDE else ("forces", "eV/Å")
        row = found[0]
        bad, of, worst = row[f"{kind}_outside"], row[kind], row[f"{kind}_worst"]
        number = "no number" if worst is None else f"{worst:.3g} {value}"
        self._warn(
            f"at {self._labels[point]} {bad} of {of} {kind} lie outside of what the "
            f"energy model knows (worst: {number}); the run goes on and its report will say so"
        )


def summarize(events: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Collect findings by point from events; of a draw that was looked at twice the last counts.

    Returns
    -------
    One dictionary per point with ``point``, ``energies`` looked at in blocks with any outside,
    ``energies_outside`` and ``energies_worst`` (eV per atom from the reference or from random
    arrangements), ``forces``, ``forces_outside`` and ``forces_worst`` (eV/Å; None where it was no
    number), and ``not_relaxed``.
    """
    last: dict[tuple[str, int, int], Mapping[str, Any]] = {}
    failed: dict[int, int] = {}
    for event in events:
        if event.get("event") in {OUTSIDE, FORCES}:
            last[event["event"], int(event["point"]), int(event.get("first", 0))] = event
        elif event.get("event") == NOT_RELAXED:
            failed[int(event["point"])] = failed.get(int(event["point"]), 0) + int(event["count"])
    points: dict[int, dict[str, Any]] = {}
    for (what, point, _), event in sorted(last.items(), key=lambda entry: entry[0]):
        row = points.setdefault(point, {"point": point})
        kind = "energies" if what == OUTSIDE else "forces"
        row[kind] = row.get(kind, 0) + event["of"]
        row[f"{kind}_outside"] = row.get(f"{kind}_outside", 0) + event["count"]
        worst = [row.get(f"{kind}_worst", 0.0), event["worst"]]
        row[f"{kind}_worst"] = None if None in worst else max(worst, key=abs)
    for point, count in failed.items():
        points.setdefault(point, {"point": point})["not_relaxed"] = count
    return [points[point] for point in sorted(points)]


def _stored(bounds: Mapping[str, Any]) -> Domain:
    energy = bounds.get("energy")
    return Domain(
        energy=None if energy is None else (energy[0], energy[1]),
        deviation=bounds.get("deviation", DEVIATION),
        force=bounds.get("force", FORCE),
        source=bounds.get("source", ""),
    )


def _plain(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
