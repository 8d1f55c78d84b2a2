"""What concentration waves say to a reader: a statement, caveats, plain data."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ...lattice import Lattice
from ..caveats import MAGNETIC, Caveat
from ..order.commensurate import NAMED_ORDERS, shown_vector
from ..wording import with_error
from .couplings import Couplings
from .solving import Wave

if TYPE_CHECKING:
    from .mean_field import ConcentrationWaves

__all__ = ["as_dict", "called", "caveats", "range_text", "statement"]


def statement(waves: ConcentrationWaves) -> str:
    """Say what was found, in sentences that can be quoted."""
    lead = waves.leading
    text = (
        f"With {_composition(waves.lattice, waves.couplings)} on {waves.landscape}, the disordered "
        f"crystal is {'most unstable' if lead.energy < 0 else 'least stable'} to {called(lead)}"
        f" (λ = {lead.energy:.4g} eV before rescaling, mean field)"
    )
    if waves.gap is not None:
        text += f"; next is {called(waves.waves[1])}, {waves.gap:.2g} eV above"
    text += ". "
    if waves.rescaling is not None:
        r = waves.rescaling
        text += (
            f"Energies of {r.n} random arrangements follow those of V with slope "
            f"{with_error(r.slope, r.error)} (r = {r.correlation:.3f}). "
        )
    reason = waves.no_temperature(lead)
    if reason:
        return text + f"No temperature: {reason}."
    t = waves.temperature()
    return text + f"Mean-field temperature {with_error(t.kelvin, t.error)} K ({t.label})."


def caveats(waves: ConcentrationWaves) -> tuple[Caveat, ...]:
    """List what a reader must know before using the numbers."""
    found = []
    symbols = set(waves.lattice.atoms[waves.lattice.spectators].get_chemical_symbols())
    symbols |= {s for sub in waves.lattice.sublattices.values() for s in sub.species}
    if magnetic := sorted(symbols & MAGNETIC):
        text = (
            f"{', '.join(magnetic)} may carry a magnetic moment; the potential knows one "
            "implied magnetic state."
        )
        found.append(Caveat("warning", "magnetic", text))
    if waves.left_out:
        found.append(Caveat("note", "neutrality", waves.left_out))
    text = (
        "A local potential has no long-range Coulomb interaction: V(q) at q → 0 is not that of "
        "the crystal where the species differ in charge."
    )
    level = "warning" if waves.leading.star.uniform else "note"
    found.append(Caveat(level, "coulomb", text))
    if waves.leading.star.uniform:
        text = (
            "At q = 0 both phases are held in the cell of their mixture; their own volumes would "
            "lower the energy of unmixing."
        )
        found.append(Caveat("note", "one-cell", text))
    if not waves.decayed:
        found.append(Caveat("note", "range", range_text(waves)))
    text = (
        "Mean-field theory ranks orderings; its temperatures are too high (by a third for "
        "rock-salt order with nearest neighbours, by more where farther ones compete), and it "
        "knows second-order instabilities only."
    )
    found.append(Caveat("note", "mean-field", text))
    return tuple(found)


def range_text(waves: ConcentrationWaves) -> str:
    """How far the interactions reach, compared with the cell."""
    return (
        f"At half the cell ({waves.couplings.inner_radius:.3g} Å) interactions have "
        f"{waves.couplings.edge_share:.0%} of their largest size: V(q) holds for wave vectors "
        "that fit this cell, up to one constant for all of them; between them, and for "
        "temperatures, take a larger cell."
    )


def as_dict(waves: ConcentrationWaves) -> dict[str, Any]:
    """Everything as plain data; unknown numbers are None."""
    reason = waves.no_temperature(waves.leading)
    table = waves.couplings.by_distance
    return {
        "statement": waves.statement,
        "landscape": waves.landscape,
        "composition": _fractions(waves.lattice, waves.couplings),
        "waves": [_wave_dict(waves, wave) for wave in waves.waves],
        "gap_eV": waves.gap,
        "interactions": {
            "distance_A": table.distance.to_numpy().tolist(),
            "largest_eV": table.coupling.to_numpy().tolist(),
            "share_at_edge": waves.couplings.edge_share,
            "decayed": waves.decayed,
        },
        "rescaling": None if waves.rescaling is None else waves.rescaling._asdict(),
        "temperature": None if reason else waves.temperature()._asdict(),
        "no_temperature": reason,
        "caveats": [caveat._asdict() for caveat in waves.caveats],
    }


def _wave_dict(waves: ConcentrationWaves, wave: Wave) -> dict[str, Any]:
    return {
        "name": wave.name,
        "q": list(wave.q),
        "arms": wave.star.arms.tolist(),
        "energy_eV": wave.energy,
        "energies_eV": wave.energies.tolist(),
        "degenerate": wave.degenerate,
        "polarisation": waves.polarisation(wave),
    }


def called(wave: Wave) -> str:
    """Name of a wave with its vector."""
    vector = f"q = {shown_vector(np.array(wave.q))}"
    if wave.name == vector:
        return vector
    return f"{wave.name}{' order' if wave.name in NAMED_ORDERS else ''} at {vector}"


def _fractions(lattice: Lattice, couplings: Couplings) -> dict[str, dict[str, float]]:
    """Mean composition by sublattice."""
    found = {}
    for name, sublattice in lattice.sublattices.items():
        mean = couplings.mean[lattice.site_slice(name)].mean(axis=0)
        found[name] = {s: float(c) for s, c in zip(sublattice.species, mean, strict=False)}
    return found


def _composition(lattice: Lattice, couplings: Couplings) -> str:
    parts = []
    for name, fractions in _fractions(lattice, couplings).items():
        if len(fractions) > 1:
            mixture = ", ".join(f"{s} {c:.3g}" for s, c in fractions.items())
            parts.append(f"{mixture} on {name}")
    return "; ".join(parts)
