"""Switching refuses what it cannot do, in one line and before it costs anything."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from alchemc import Canonical, Lattice, RandomSwap, Sublattice
from alchemc.ensembles import (
    HMC,
    NPT,
    AlchemicalPath,
    GeometricSchedule,
    HybridMD,
    MixturePath,
    OptimisedSchedule,
    Switching,
)
from alchemc.ensembles.alchemical import LinearSchedule
from alchemc.errors import InputError, ModelError
from exact_positions import LATTICE, OCCUPATION, STIFF, TEMPERATURE
from path_cases import SOFT, lattice_case, stiffening, switching_of
from toy_crystal import ToyCrystal

START = OCCUPATION[0]
CASE = lattice_case("composition")
PATH = stiffening(True)[0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kernel": None}, "nothing moves"),
        ({"n_steps": 0}, "n_steps is 0"),
        ({"temperature": -1.0}, "temperature is -1.0"),
        ({"temperature": 500.0}, "the kernel's ensemble has the temperature 2000.0"),
        ({"schedule": "lineal"}, "did you mean 'linear'"),
        ({"schedule": 3.0}, "schedule is 3.0"),
        ({"schedule": LinearSchedule}, "schedule is"),
        ({"equilibration": 0}, "protocols start from equilibrium"),
        ({"warmup": -1}, "warmup is -1"),
        ({"kernel_steps": 0}, "kernel_steps is 0"),
        ({"kernel": 3}, "int is no kernel"),
        ({"path": CASE.path.hamiltonian}, "give an AlchemicalPath or a MixturePath"),
        ({"dynamics": HMC()}, "has no forces"),
    ],
)
def test_bad_input_is_refused_in_one_line(change, message):
    with pytest.raises(InputError, match=message) as error:
        replace(switching_of(CASE), **change)
    assert "\n" not in str(error.value)


def test_schedules_that_lead_nowhere_are_refused():
    with pytest.raises(InputError, match="ratio is 1"):
        GeometricSchedule(1.0)
    with pytest.raises(InputError, match="near is 2"):
        GeometricSchedule(near=2)

    class Back(LinearSchedule):
        def __call__(self, t):
            return 1.0 - t

    with pytest.raises(InputError, match="has to rise from 0 to 1"):
        switching_of(CASE, schedule=Back())


def test_positions_need_double_precision_for_hmc_and_no_vacancies_beside_a_kernel():
    single = ToyCrystal(LATTICE, STIFF)
    single.dtype = "float32"
    with pytest.raises(InputError, match="double precision, not in float32"):
        Switching(MixturePath(single, single), TEMPERATURE, n_steps=2, dynamics=HMC())
    vacant = Lattice(LATTICE.atoms, {"s": Sublattice((0, 1, 2), ("Sc", "X"))})
    path = MixturePath(ToyCrystal(vacant, SOFT), ToyCrystal(vacant, STIFF))
    kernel = RandomSwap(path.model(0.0), Canonical(vacant, TEMPERATURE))
    with pytest.raises(InputError, match="where sites may be vacant"):
        Switching(path, TEMPERATURE, n_steps=2, dynamics=HMC(), kernel=kernel)


def test_kernels_and_dynamics_that_do_not_fit_the_path_are_refused():
    whole = RandomSwap(CASE.path.hamiltonian, Canonical(CASE.path.lattice, CASE.temperature))
    with pytest.raises(InputError, match="make it on path"):
        switching_of(CASE._replace(kernel=whole))
    with pytest.raises(InputError, match="give HMC"):
        Switching(PATH, TEMPERATURE, n_steps=2, dynamics=NPT(pressure=0.0))
    toy = ToyCrystal(LATTICE, STIFF)
    hybrid = HybridMD(RandomSwap(toy, Canonical(LATTICE, TEMPERATURE)), HMC())
    with pytest.raises(InputError, match="moves more than occupations"):
        Switching(PATH, TEMPERATURE, n_steps=2, kernel=hybrid)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_chains": 0}, "n_chains is 0"),
        ({"n_rounds": 0}, "n_rounds is 0"),
        ({"error": 0.01}, "give max_calls or n_rounds"),
        ({"error": -0.01, "n_rounds": 3}, "error is -0.01"),
        ({"max_calls": 0}, "max_calls is 0"),
        ({"seed": -1}, "seed"),
    ],
)
def test_runs_that_make_no_sense_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        switching_of(CASE).run(CASE.start, **options)


def test_starts_that_do_not_fit_are_refused():
    with pytest.raises(InputError, match="2 starts for 3 chains"):
        switching_of(CASE).run(np.stack([CASE.start] * 2), n_chains=3)
    moving = Switching(PATH, TEMPERATURE, n_steps=2, dynamics=HMC())
    structures = moving.moves.starts(START, 2)
    with pytest.raises(InputError, match="bind the energy model to them"):
        switching_of(CASE).run(structures, n_chains=2)
    wrong = structures._replace(positions=structures.positions[:, :3])
    with pytest.raises(InputError, match=r"positions have shape \(2, 3, 3\)"):
        moving.run(wrong, n_chains=2)


def test_a_configuration_without_energy_is_told_with_its_place():
    case = lattice_case("composition", "energies")
    broken = MixturePath(case.path.hamiltonian, _NoEnergy(case.path.lattice))
    kernel = RandomSwap(broken.model(0.0), Canonical(broken.movable, 900.0))
    switching = Switching(broken, 900.0, n_steps=2, kernel=kernel)
    with pytest.raises(ModelError, match="no finite energy at s = 1"):
        switching.run(case.start, n_chains=2)


class _NoEnergy:
    def __init__(self, lattice):
        self.lattice = lattice

    def energy(self, occupations):
        return np.full(len(occupations), np.inf)


def test_paths_of_what_is_no_model_and_no_group_are_refused():
    with pytest.raises(InputError, match="final is 3; give an energy model"):
        MixturePath(CASE.path.hamiltonian, 3)
    with pytest.raises(InputError, match="give Groups"):
        AlchemicalPath(CASE.path.hamiltonian, {"one": [0]}, "Ti", "Zr")
    with pytest.raises(InputError, match="give numbers"):
        OptimisedSchedule([0.0, 1.0], ["slow", "fast"], 300.0)
