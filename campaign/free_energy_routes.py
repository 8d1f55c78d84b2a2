"""Routes to a free energy: along the alchemical path, or by absolute free energies of both ends."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from ase.data import atomic_masses, atomic_numbers
from ase.units import kB

from .. import analysis
from ..alchemical_records import Windows, Works
from ..analysis.alchemical.bennett import bennett
from ..ensembles.alchemical import Switching, WindowSampling, spring_constants
from ..ensembles.alchemical.frenkel_ladd import ThermalPositions, reference_path, thermal_positions
from ..errors import AlchemcError, ConvergenceError
from ..solid_records import HeldReference, RemovedAtom
from .build import model_facts
from .free_energy_crystal import StudyCrystal
from .free_energy_file import FreeEnergyFile
from .free_energy_parts import Keeper, Limits, Part, kept_thermal, sampled, switched

__all__ = ["Outcome", "Routes"]

ENDS = {"initial": "before", "final": "after", "perfect": "without vacancy", "vacant": "vacancy"}
SMALL = 1e-9  # eV; terms of both crystals that cancel are not shown
FRACTIONS = (0.2, 0.4, 0.6, 0.8, 1.0)


class Outcome(NamedTuple):
    """One repeat of a route at a temperature: eV, evaluations of the model, and plain data."""

    value: float
    error: float
    terms: dict[str, tuple[float, float]]
    calls: int
    caveats: tuple[dict[str, str], ...]
    parts: tuple[dict[str, Any], ...]
    reservoir: str = ""


class _Estimated(NamedTuple):
    """What one part says: the estimate, its terms in a table, and what it took."""

    found: Any
    calls: int
    part: dict[str, Any]

    @property
    def caveats(self) -> tuple[dict[str, str], ...]:
        where = self.part["name"]
        found = self.part["estimate"]["caveats"]
        return tuple({**one, "text": f"{where}: {one['text']}"} for one in found)


class Routes:
    """Measures what a study asks for; what two routes share is measured once.

    Parameters
    ----------
    file
        The study.
    crystal
        What it is made on.
    keeper
        Where works are kept, and who is told.
    """

    def __init__(self, file: FreeEnergyFile, crystal: StudyCrystal, keeper: Keeper) -> None:
        self.file, self.study, self.crystal, self.keeper = file, file.study, crystal, keeper
        self.dynamics = file.dynamics.build()
        for temperature in self.study.temperatures:
            self._gas(temperature)  # refused before anything is measured
        self._thermal: dict[tuple[str, float, int], ThermalPositions] = {}
        self._solids: dict[tuple[str, float, int], _Estimated] = {}
        model = model_facts(crystal.hamiltonian)
        places = hashlib.sha256(np.ascontiguousarray(crystal.positions.round(9)).tobytes())
        held = [crystal.occupation, crystal.final]
        self._common = {
            "crystal": crystal.lattice.fingerprint(),
            "positions": places.hexdigest(),
            "arrangement": [None if one is None else one.tolist() for one in held],
            "model": {n: v for n, v in model.items() if n in {"name", "sha256", "head"}},
            "precision": str(getattr(crystal.hamiltonian, "dtype", "")),
            "dynamics": file.dynamics.model_dump(),
            "chains": self.study.chains,
            "equilibration": self.study.equilibration,
            "warmup": self.study.warmup,
            "seed": self.study.seed,
        }

    def _gas(self, temperature: float) -> analysis.GasPotential | None:
        """Gas that a vacancy's atom goes to, if it is one."""
        vacancy = self.file.vacancy
        if vacancy is None or vacancy.molecule_energy is None:
            return None
        return analysis.gas_potential(
            vacancy.element, vacancy.molecule_energy, temperature, vacancy.pressure
        )

    def measure(self, route: str, temperature: float, repeat: int) -> Outcome:
        """One repeat of a route.

        Raises
        ------
        ConvergenceError
            If it gives no number: work distributions or windows that do not overlap.
        """
        kind = self.study.kind
        if kind == "absolute":
            return self._absolute(temperature, repeat)
        if kind == "substitution":
            if route == "frenkel-ladd":
                return self._two_solids(temperature, repeat)
            return self._substitution(route, temperature, repeat)
        if route == "frenkel-ladd":
            return self._two_solids_of_vacancy(temperature, repeat)
        return self._vacancy(route, temperature, repeat)

    # ---- substitutions and absolute free energies ----------------------------------------------

    def _substitution(self, route: str, temperature: float, repeat: int) -> Outcome:
        path = self._path_of()
        one = self._along(route, temperature, repeat, path, lambda: self.crystal.occupation)
        before, after = self.crystal.masses()
        found = analysis.SubstitutionFreeEnergy(
            one.found.free_energy, one.found.error, before, after, temperature
        )
        return _outcome(found, one.calls, [one], path=route == "windows")

    def _absolute(self, temperature: float, repeat: int) -> Outcome:
        one = self._solid("initial", self.crystal.occupation, temperature, repeat)
        return _outcome(one.found, one.calls, [one])

    def _two_solids(self, temperature: float, repeat: int) -> Outcome:
        assert self.crystal.final is not None  # noqa: S101  (a substitution has one)
        both = [
            self._solid("initial", self.crystal.occupation, temperature, repeat),
            self._solid("final", self.crystal.final, temperature, repeat),
        ]
        before, after = (one.found for one in both)
        apart = {name: after.terms[name] - value for name, value in before.terms.items()}
        terms = {name: (value, 0.0) for name, value in apart.items() if abs(value) > SMALL}
        error = float(np.hypot(before.error, after.error))
        terms["switching"] = (apart["switching"], error)
        return Outcome(
            after.value - before.value, error, terms, sum(one.calls for one in both),
            _caveats(both), tuple(one.part for one in both),
        )  # fmt: skip

    # ---- vacancies -----------------------------------------------------------------------------

    def _vacancy(self, route: str, temperature: float, repeat: int) -> Outcome:
        thermal = self._drawn("perfect", self.crystal.occupation, temperature, repeat)
        spring, place = self._held(thermal, temperature)
        path = self._path_of(spring, place)
        one = self._along(route, temperature, repeat, path, thermal.last, spring=spring)
        symbol = self.crystal.species[0][0]
        mass = float(atomic_masses[atomic_numbers[symbol]])
        ghost = RemovedAtom(symbol, mass, spring, temperature)
        potential, error, words, more = self._reservoir(temperature, repeat)
        found = analysis.VacancyFormation.of(ghost, one.found, potential, error, reservoir=words)
        # The thermal draws are part of the perfect crystal's absolute free energy, if it is made.
        calls = one.calls + (sum(m.calls for m in more) if more else thermal.calls)
        kept = _outcome(found, calls, [one, *more], path=route == "windows")
        return kept._replace(reservoir=words)

    def _two_solids_of_vacancy(self, temperature: float, repeat: int) -> Outcome:
        assert self.crystal.final is not None  # noqa: S101  (a vacancy has one)
        vacant = self._solid("vacant", self.crystal.final, temperature, repeat)
        perfect = self._solid("perfect", self.crystal.occupation, temperature, repeat)
        n = len(self.crystal.lattice.atoms)
        both, calls = [vacant, perfect], vacant.calls + perfect.calls
        low, high = vacant.found, perfect.found
        terms = {"crystal with the vacancy": (low.value, low.error)}
        if self._takes_crystal:
            share = (n - 1) / n
            terms["atoms of the crystal"] = (-share * high.value, share * high.error)
            words = self._words_of_crystal
        else:
            potential, error, words, _ = self._reservoir(temperature, repeat)
            terms["crystal"] = (-high.value, high.error)
            terms["chemical potential"] = (potential, error)
        value = sum(v for v, _ in terms.values())
        error = float(np.sqrt(sum(e**2 for _, e in terms.values())))
        parts = tuple(one.part for one in both)
        return Outcome(value, error, terms, calls, _caveats(both), parts, words)

    @property
    def _takes_crystal(self) -> bool:
        return self.file.vacancy is not None and self.file.vacancy.reservoir == "crystal"

    @property
    def _words_of_crystal(self) -> str:
        return f"the crystal of {len(self.crystal.lattice.atoms)} atoms at constant volume"

    def _reservoir(
        self, temperature: float, repeat: int
    ) -> tuple[float, float, str, list[_Estimated]]:
        """μ with its error, what it is of, and the parts it was made of."""
        vacancy = self.file.vacancy
        assert vacancy is not None  # noqa: S101  (checked by the file)
        if vacancy.reservoir == "given":
            assert vacancy.chemical_potential is not None  # noqa: S101
            both = vacancy.chemical_potential, vacancy.chemical_potential_error
            return *both, "the given reservoir", []
        if (gas := self._gas(temperature)) is not None:
            return gas.value, 0.0, gas.statement, []
        perfect = self._solid("perfect", self.crystal.occupation, temperature, repeat)
        n = len(self.crystal.lattice.atoms)
        each = perfect.found.value / n, perfect.found.error / n
        return *each, self._words_of_crystal, [perfect]

    def _held(self, thermal: ThermalPositions, temperature: float) -> tuple[float, np.ndarray]:
        """Spring of the ghost in eV/Å² and its place, as the crystal holds the atom."""
        lattice, vacancy = self.crystal.lattice, self.file.vacancy
        assert vacancy is not None  # noqa: S101  (checked by the file)
        springs, places = spring_constants(
            lattice, thermal.occupation, thermal.positions, temperature
        )
        spring = vacancy.spring if vacancy.spring is not None else springs[vacancy.element]
        return float(spring), places[int(lattice.sites[0])]

    # ---- parts ---------------------------------------------------------------------------------

    def _path_of(self, spring: float = 0.0, place: Any = None) -> Callable[[], Any]:
        return lambda: self.crystal.path(self.study.mixing, spring, place)

    def _along(
        self,
        route: str,
        temperature: float,
        repeat: int,
        path: Callable[[], Any],
        starts: Callable[[], Any],
        **more: Any,
    ) -> _Estimated:
        """Switching or windows along the alchemical path."""
        study = self.study
        key = f"{temperature:g}K-{route}-{repeat + 1}"
        title = self._title(temperature, route, repeat)
        settings = self._common | more | {
            "temperature": temperature, "route": route, "mixing": study.mixing,
        }  # fmt: skip
        options: dict[str, Any] = {"equilibration": study.equilibration, "dynamics": self.dynamics}
        like: dict[str, Any] = {"temperature": temperature, "label": self.crystal_label}
        if route == "switching":
            settings |= {"steps": study.steps, "schedule": study.schedule}

            def switching() -> tuple[Any, Any, dict[str, np.ndarray]]:
                made = Switching(
                    path(), temperature, study.steps, study.schedule, warmup=study.warmup, **options
                )
                return made, starts(), {}

            part = Part(key, title, settings, switching, study.chains, self._seed(key))
            like |= {"n_steps": study.steps, "schedule": study.schedule}
            works, _ = switched(self.keeper, part, self._limits(study.rounds), like)
            return _of_works(title, works)
        couplings = study.windows
        places = np.linspace(0, 1, couplings) if isinstance(couplings, int) else couplings
        settings |= {"windows": list(map(float, places)), "thin": study.thin}

        def windows() -> tuple[Any, Any, dict[str, np.ndarray]]:
            made = WindowSampling(path(), temperature, places, thin=study.thin, **options)
            return made, starts(), {}

        part = Part(key, title, settings, windows, study.chains, self._seed(key))
        like["couplings"] = np.array(places, dtype=float)
        found, _ = sampled(self.keeper, part, self._limits(study.draws), like)
        return _of_windows(title, found)

    def _solid(
        self, name: str, occupation: np.ndarray, temperature: float, repeat: int
    ) -> _Estimated:
        """Absolute free energy of one crystal, by switching from a reference."""
        if (name, temperature, repeat) in self._solids:
            return self._solids[name, temperature, repeat]
        study, reference, crystal = self.study, self.file.reference, self.crystal
        key = f"{temperature:g}K-frenkel-ladd-{name}-{repeat + 1}"
        words = "" if study.kind == "absolute" else f", {ENDS[name]}"
        title = self._title(temperature, "Frenkel–Ladd" + words, repeat)
        settings = self._common | {
            "temperature": temperature, "occupation": occupation.tolist(), "steps": study.steps,
            "schedule": study.schedule, "reference": reference.model_dump(),
        }  # fmt: skip

        def make() -> tuple[Any, Any, dict[str, np.ndarray]]:
            thermal = self._drawn(name, occupation, temperature, repeat)
            path = reference_path(
                crystal.hamiltonian, occupation, thermal, temperature, kind=reference.kind,
                hessians=reference.hessians, softest=reference.softest,
            )  # fmt: skip
            switching = Switching(
                path, temperature, study.steps, study.schedule, thermal.dynamics,
                equilibration=study.equilibration, warmup=0,
            )  # fmt: skip
            record = path.reference.record(temperature, crystal.translations).to_arrays()
            spent = np.array(thermal.calls + path.preparation)
            return switching, thermal.last(), record | {"preparation": spent}

        like = {
            "temperature": temperature, "n_steps": study.steps, "schedule": study.schedule,
            "label": f"reference → {crystal.hamiltonian.__class__.__name__}",
        }  # fmt: skip
        part = Part(key, title, settings, make, study.chains, self._seed(key))
        works, beside = switched(self.keeper, part, self._limits(study.rounds), like)
        preparation = int(beside.pop("preparation"))
        one = _of_works(title, works)
        held = HeldReference.from_arrays(beside)
        solid = analysis.SolidFreeEnergy.of(held, one.found)
        row = {**one.part, "terms": solid.rows()}
        found = _Estimated(solid, one.calls + preparation, row)
        self._solids[name, temperature, repeat] = found
        return found

    def _drawn(
        self, name: str, occupation: np.ndarray, temperature: float, repeat: int
    ) -> ThermalPositions:
        """Thermal positions of one crystal, drawn once."""
        at = name, temperature, repeat
        if at not in self._thermal:
            reference, study = self.file.reference, self.study
            key = f"{temperature:g}K-thermal-{name}-{repeat + 1}"
            settings = self._common | {
                "temperature": temperature, "occupation": occupation.tolist(),
                "draws": reference.draws, "thermal warmup": reference.warmup,
            }  # fmt: skip

            def draw() -> ThermalPositions:
                of = ENDS[name] if study.kind != "absolute" else ""
                words = ", ".join(filter(None, ["thermal positions", of]))
                self.keeper.tell(self._title(temperature, words, repeat))
                return thermal_positions(
                    self.crystal.hamiltonian, occupation, temperature, dynamics=self.dynamics,
                    n_draws=reference.draws, warmup=reference.warmup, n_replicas=study.chains,
                    seed=self._seed(key), positions=self.crystal.positions,
                )  # fmt: skip

            self._thermal[at] = kept_thermal(self.keeper, key, settings, self.dynamics, draw)
        return self._thermal[at]

    @property
    def crystal_label(self) -> str:
        """What becomes what."""
        first, last = self.crystal.species
        changes = dict.fromkeys(f"{a} → {b}" for a, b in zip(first, last, strict=True))
        return ", ".join(changes)

    def _title(self, temperature: float, what: str, repeat: int) -> str:
        again = f", repeat {repeat + 1} of {self.study.repeats}" if self.study.repeats > 1 else ""
        return f"{temperature:g} K, {what}{again}"

    def _seed(self, key: str) -> int:
        """Seed of a part: the same whatever other parts there are."""
        return zlib.crc32(f"{self.study.seed} {key}".encode())

    def _limits(self, most: int) -> Limits:
        return Limits(most, self.study.error, self.study.max_calls)


def _outcome(found: Any, calls: int, parts: list[_Estimated], *, path: bool = False) -> Outcome:
    """Terms as a result has them; ``path`` where its path was not switched."""
    terms = {
        "along the path" if path and row["term"] == "switching" else row["term"]:
        (row["value_eV"], row["error_eV"]) for row in found.rows()[:-1]
    }  # fmt: skip
    return Outcome(
        found.value, found.error, terms, calls, _caveats(parts), tuple(one.part for one in parts)
    )


def _caveats(parts: list[_Estimated]) -> tuple[dict[str, str], ...]:
    return tuple(caveat for one in parts for caveat in one.caveats)


def _of_works(title: str, works: Works) -> _Estimated:
    try:
        found = analysis.switching_free_energy(works)
    except AlchemcError as error:
        raise ConvergenceError(f"{title}: {error}") from None
    part = {
        "name": title,
        "estimate": found.to_dict(),
        "works": {
            "forward": works.forward.ravel().tolist(), "reverse": works.reverse.ravel().tolist()
        },
        "course": _course(works),
    }  # fmt: skip
    return _Estimated(found, int(works.calls), part)


def _of_windows(title: str, windows: Windows) -> _Estimated:
    try:
        found = analysis.window_free_energy(windows, parts=5)
    except AlchemcError as error:
        raise ConvergenceError(f"{title}: {error}") from None
    return _Estimated(found, int(windows.calls), {"name": title, "estimate": found.to_dict()})


def _course(works: Works) -> dict[str, Any]:
    """ΔF in eV from growing parts of the works, from the first on and back from the last."""
    kt = kB * works.temperature
    both = [one.ravel() / kt for one in (works.forward, works.reverse)]
    found: dict[str, Any] = {"fractions": [], "first": [], "last": []}
    for fraction in FRACTIONS:
        sizes = [round(fraction * len(one)) for one in both]
        if min(sizes) < 2:
            continue
        found["fractions"].append(fraction)
        ways = {
            "first": [one[:n] for one, n in zip(both, sizes, strict=True)],
            "last": [one[len(one) - n :] for one, n in zip(both, sizes, strict=True)],
        }
        for name, parts in ways.items():
            found[name].append(_bennett(parts[0], parts[1], kt))
    return found


def _bennett(forward: np.ndarray, reverse: np.ndarray, kt: float) -> dict[str, float | None]:
    try:
        one = bennett(forward, reverse)
    except AlchemcError:
        return {"free_energy": None, "error": None}
    known = np.isfinite([one.f, one.error])
    return {
        "free_energy": float(one.f * kt) if known[0] else None,
        "error": float(one.error * kt) if known[1] else None,
    }
