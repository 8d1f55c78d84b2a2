"""Scans of chemical potentials and sweeps both ways, from the TOML to the report.

Means are compared with enumeration in units of their reported errors. All seeds are fixed; a right
sampler would fail one of these comparisons (|z| < 4.5, some thirty of them) with a probability of
2e-4.
"""

from __future__ import annotations

import itertools
import json
import math
import os
import re
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from scipy.stats import binomtest

import alchemc.potentials
from alchemc import analysis, builders, campaign
from alchemc.analysis import plots
from alchemc.analysis.layout import layout
from alchemc.analysis.loops import loops_of
from alchemc.campaign import build, events
from alchemc.campaign.points import coordinates_of_points
from alchemc.campaign.report import report_page
from alchemc.cli import main
from alchemc.errors import InputError, StoredRunError
from alchemc.records import Run, point_dataset
from alchemc.statistics import Summary
from campaign_tools import (
    CHROMIUM,
    SCAN,
    TOY,
    assert_same_samples,
    browse,
    run_block_by_block,
    samples_of,
)
from toy_potential import ToyPotential

EXAMPLES = Path(__file__).parent.parent / "examples"
MU = "{ B = { Zr = [0.05, -0.05] } }"


@pytest.fixture(autouse=True)
def _toy(monkeypatch, tmp_path):
    kinds = {"toy": ToyPotential, **alchemc.potentials.POTENTIALS}
    monkeypatch.setattr(alchemc.potentials, "POTENTIALS", kinds)
    monkeypatch.setattr(os, "fsync", lambda _: None)
    monkeypatch.chdir(tmp_path)


def scan(*replaced: tuple[str, str], text: str = SCAN) -> campaign.Config:
    """The toy scan with some of its text replaced."""
    for old, new in replaced:
        assert old in text, old
        text = text.replace(old, new)
    return campaign.parse_config(text)


def start(config: campaign.Config, path: str = "run", **options) -> Run:
    campaign.start_run(config, path, **options)
    return campaign.open_run(path)


# ---- what the file says ----------------------------------------------------------------------


def visits(text: str) -> list[tuple]:
    section = campaign.parse_config(SCAN.replace("temperatures = [3000]", text)).ensemble
    return [tuple(visit) for visit in section.visits()]


def test_a_scan_goes_up_and_down_at_every_temperature_unless_it_is_told_otherwise():
    there, back = [-0.05, 0.05], [0.05, -0.05]
    both = [(v, 0) for v in there] + [(v, 1) for v in back]
    assert visits("temperatures = [900, 3000]") == [
        (t, *place) for t in (3000.0, 900.0) for place in both
    ]
    up = visits('temperatures = [900]\nsweep = "up"')
    assert up == [(900.0, v, None) for v in there]
    down = visits('temperatures = [900]\nsweep = "down"')
    assert down == up[::-1]


def test_a_range_is_what_one_would_type():
    found = scan((MU, "{ B = { Zr = { from = 0.2, to = -0.4, steps = 7 } } }")).ensemble
    assert found.scan.values == (-0.4, -0.3, -0.2, -0.1, 0.0, 0.1, 0.2)
    assert found.chemical_potentials["B"]["Zr"] == list(found.scan.values)


def test_temperatures_fall_and_rise_again():
    config = campaign.parse_config(TOY.replace("[1000, 2000]", '[1000, 2000]\nsweep = "both"'))
    lattice = build.build_crystal(config, Path()).lattice
    assert coordinates_of_points(config, lattice) == tuple(
        {"temperature": t, "sweep": way}
        for t, way in ((2000.0, 0.0), (1000.0, 0.0), (1000.0, 1.0), (2000.0, 1.0))
    )
    up = campaign.parse_config(TOY.replace("[1000, 2000]", '[1000, 2000]\nsweep = "up"'))
    assert [p["temperature"] for p in coordinates_of_points(up, lattice)] == [1000.0, 2000.0]


REFUSED = {
    "an option of another kind": (
        "[sampler]",
        "kappa = 200\n[sampler]",
        ["'kappa' belongs to kind = 'variance-constrained', not to 'semi-grand'"],
    ),
    "potentials in a canonical run": (
        '"semi-grand"',
        '"canonical"',
        ["'chemical_potentials' belongs to kind = 'semi-grand' or 'charge-neutral'"],
    ),
    "no potentials": (
        f"chemical_potentials = {MU}",
        "",
        ["kind = 'semi-grand' needs 'chemical_potentials'"],
    ),
    "a misspelt kind": ('"semi-grand"', '"semigrand"', ["did you mean 'semi-grand'?"]),
    "a misspelt key": (
        "chemical_potentials",
        "chemical_potential",
        ["unknown key 'ensemble.chemical_potential'", "did you mean 'chemical_potentials'?"],
    ),
    "a misspelt key of a range": (
        "[0.05, -0.05]",
        "{ from = 0, to = 1, step = 3 }",
        ["'B.Zr.step'", "did you mean 'steps'?"],
    ),
    "a range without an end": ("[0.05, -0.05]", "{ from = 0, steps = 3 }", ["needs 'to'"]),
    "a range of nothing": (
        "[0.05, -0.05]",
        "{ from = 1, to = 1, steps = 3 }",
        ["the same; give a number"],
    ),
    "a range of one step": ("[0.05, -0.05]", "{ from = 0, to = 1, steps = 1 }", ["steps = 1"]),
    "two lists": (MU, "{ B = { Zr = [0, 1], Ti = [0, 1] } }", ["B.Zr and B.Ti are lists"]),
    "a list of one": ("[0.05, -0.05]", "[0.1]", ["two values or more"]),
    "a value twice": ("[0.05, -0.05]", "[0.1, 0.1]", ["may be given once"]),
    "text for a potential": ("[0.05, -0.05]", '"high"', ["B.Zr = 'high'", "a number of eV"]),
    "text in a list": ("[0.05, -0.05]", '[0, "x"]', ["B.Zr[1] = 'x'", "a number of eV"]),
    "an infinite potential": ("[0.05, -0.05]", "inf", ["B.Zr = inf"]),
    "no sublattice": (MU, "{ Zr = 0.1 }", ["Zr = 0.1", "give species and numbers"]),
    "an unknown sublattice": (MU, "{ C = { Zr = 0.1 } }", ["ensemble.chemical_potentials.C"]),
    "an unknown species": (
        MU,
        "{ B = { Zt = 0.1 } }",
        ["ensemble.chemical_potentials.B.Zt", "known: Ti, Zr"],
    ),
    "a fixed sublattice that is not there": ("[sampler]", 'fixed = ["b"]\n[sampler]', ["'b'", "B"]),
    "nothing left free": ("[sampler]", 'fixed = ["B"]\n[sampler]', ["so nothing fluctuates"]),
    "there and back between one temperature": (
        MU,
        '{ B = { Zr = 0.05 } }\nsweep = "both"',
        ["needs two temperatures"],
    ),
    "swaps alone": (
        '"random-flip"',
        '"random-swap"',
        ["random-swap alone keeps the composition", "surrogate or random-flip"],
    ),
    "a surrogate that only swaps": (
        '"random-flip"',
        '"surrogate"\nmove = "swap"',
        ["surrogate with move = 'swap' alone", "leave out 'move'"],
    ),
    "exchanges alone": ('"random-flip"', '"table-exchange"', ["alone keeps the charge"]),
    "a move of a kernel that has one": (
        '"random-flip"',
        '"random-flip"\nmove = "flip"',
        ["'move' belongs to"],
    ),
    "a composition of another crystal": (
        "[potential]",
        "[sublattices.B]\ncomposition = { Ti = 0.3, Zr = 0.7 }\n[potential]",
        ["nearest possible"],
    ),
}


@pytest.mark.parametrize("mistake", REFUSED)
def test_a_bad_scan_is_refused_in_one_line_before_anything_is_written(mistake, capsys):
    old, new, expected = REFUSED[mistake]
    assert old in SCAN
    Path("scan.toml").write_text(SCAN.replace(old, new))
    assert main(["run", "scan.toml", "-o", "run"]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    for part in expected:
        assert part in error
    assert not Path("run").exists()


CANONICAL_REFUSED = {
    "random-flip": "changes the composition, which kind = 'canonical' keeps",
    "table-exchange": "changes the composition, which kind = 'canonical' keeps",
}


@pytest.mark.parametrize("kind", CANONICAL_REFUSED)
def test_a_canonical_run_takes_no_kernel_that_changes_the_composition(kind):
    head, _, rest = TOY.partition("[sampler]")
    text = f'{head}[sampler]\nkind = "{kind}"\n[run]{rest.partition("[run]")[2]}'
    with pytest.raises(InputError, match=CANONICAL_REFUSED[kind]):
        campaign.parse_config(text)
    with pytest.raises(InputError, match="with move = 'flip' changes the composition"):
        campaign.parse_config(text.replace(f'"{kind}"', '"surrogate"\nmove = "flip"'))


def test_a_precision_of_a_composition_that_is_kept_is_refused():
    with pytest.raises(InputError, match="'composition' is fixed in a canonical run"):
        campaign.parse_config(TOY.replace("seed = 11", "precision = { composition = 0.1 }"))


TWO = SCAN.replace('A = "Sr"', 'A = ["Sr", "Ba"]').replace(
    "[potential]", "[sublattices.A]\ncomposition = { Sr = 0.5, Ba = 0.5 }\n[potential]"
)


def test_a_fixed_sublattice_keeps_its_counts_and_is_rearranged():
    fixed = ("temperatures = [3000]", 'temperatures = [3000]\nfixed = ["A"]')
    with pytest.raises(
        InputError, match="nothing rearranges the species of the fixed sublattice A"
    ):
        start(scan(fixed, text=TWO))
    kernels = '"mixture"\nkernels = [{ kind = "random-flip" }, { kind = "random-swap" }]'
    run = start(scan(fixed, ('"random-flip"', kernels), text=TWO))
    occupation = np.concatenate([p["occupation"].values.reshape(-1, 16) for p in run.points])
    on_a, on_b = (occupation[:, run.lattice.sublattice_of_site == k] for k in (0, 1))
    assert set(on_a.sum(axis=1)) == {4}
    assert len(np.unique(on_a, axis=0)) > 5
    assert len(set(on_b.sum(axis=1))) > 2
    assert set(analysis.analyze_run(run)["points"][0]["composition"]) == {"B"}
    named = ("{ B = { Zr = [0.05, -0.05] } }", "{ A = { Sr = [0.05, -0.05] } }")
    with pytest.raises(InputError, match="sublattice A is fixed, where it has no effect"):
        start(scan(fixed, named, text=TWO), "other")


# ---- what is sampled and stored --------------------------------------------------------------


def exact_fraction(run: Run, point: int) -> tuple[float, float]:
    """Exact mean fraction of Zr and energy per site of a point of the toy scan."""
    states = run.lattice.enumerate()
    where = {str(k): float(v) for k, v in run.points[point].coords.items() if not v.ndim}
    energy = run.hamiltonian().energy(states)
    exponent = energy - where["mu_B_Zr"] * states.sum(axis=1)
    beta = 1.0 / (8.617333262e-5 * where["temperature"])
    weights = np.exp(-beta * (exponent - exponent.min()))
    weights /= weights.sum()
    return float(weights @ states.mean(axis=1)), float(weights @ energy) / 8


@pytest.mark.parametrize("kind", ["random-flip", "surrogate", "gibbs-with-gradients"])
def test_compositions_and_energies_follow_the_chemical_potential(kind, record_property):
    thin = {"surrogate": "thin = 1", "random-flip": "thin = 16"}.get(kind, "thin = 8")
    config = scan(
        ('"random-flip"', f'"{kind}"'),
        ("draws = 25", "draws = 250"),
        ("thin = 2", thin),
        ("warmup = 7", "warmup = 40"),
    )
    run = start(config)
    results = analysis.analyze_run(run)
    assert [p["value"] for p in results["points"]] == [-0.05, -0.05, 0.05, 0.05]
    assert [p["direction"] for p in results["points"]] == ["up", "down"] * 2
    for point in results["points"]:
        fraction, energy = exact_fraction(run, point["index"])
        for found, exact in (
            (point["composition"]["B"]["Zr"], fraction),
            (point["energy"], energy),
        ):
            z = (found["mean"] - exact) / found["error"]
            record_property("z", round(z, 2))
            print(f"{kind}: {found['mean']:.4f} against {exact:.4f}, z = {z:.2f}")
            assert abs(z) < 4.5
        other = exact_fraction(run, 1 if point["value"] < 0 else 0)[0]
        share = point["composition"]["B"]["Zr"]
        assert abs(share["mean"] - other) > 10 * share["error"]  # that of the wrong sign of μ


def test_plain_xarray_reads_all_coordinates_of_a_scan():
    start(scan())
    stored = xr.open_zarr("run/samples.zarr", group="point-003", consolidated=False)
    named = {"temperature": 3000.0, "mu_B_Ti": 0.0, "mu_B_Zr": -0.05, "sweep": 1.0}
    assert {name: float(stored.coords[name]) for name in named} == named
    assert stored["mu_B_Zr"].attrs["units"] == "eV"
    assert stored["energy"].dims == ("draw", "chain")


def test_a_scan_opens_with_its_defaults_written_out():
    run = start(scan(("[0.05, -0.05]", "{ from = -0.05, to = 0.05, steps = 2 }")))
    section = run.config["ensemble"]
    assert section["chemical_potentials"] == {"B": {"Zr": [-0.05, 0.05]}}
    assert section["sweep"] == "both"
    assert run.config["sublattices"]["B"]["composition"] == {"Ti": 0.5, "Zr": 0.5}
    canonical = campaign.parse_config(TOY)
    campaign.start_run(canonical, "canonical")
    stored = campaign.open_run("canonical").config["ensemble"]
    assert set(stored) == {"kind", "temperatures"}  # earlier versions read it, too


@pytest.mark.parametrize("text", [SCAN, TOY.replace("[1000, 2000]", '[1, 2]\nsweep = "both"')])
def test_the_way_back_starts_where_the_way_there_ended(text):
    for old, new in (("draws = 25", "draws = 1"), ("thin = 2", "thin = 1"), ("p = 7", "p = 0")):
        text = text.replace(old, new)
    points = start(campaign.parse_config(text)).points
    assert len(points) == 4
    for before, after in itertools.pairwise(points):
        moved = before["occupation"].values[-1] != after["occupation"].values[0]
        assert (moved.sum(axis=-1) <= 2).all()  # one move at most


SAMPLERS = {
    "random-flip": '"random-flip"',
    "surrogate": '"surrogate"',
    "mixture": '"mixture"\nkernels = [{ kind = "random-flip" }, { kind = "path-auxiliary" }]',
}


@pytest.mark.parametrize("kind", SAMPLERS)
def test_a_scan_stopped_at_every_block_goes_on_bit_for_bit(kind):
    config = scan(
        ('"random-flip"', SAMPLERS[kind]), ("draws = 25", "draws = 5"), ("thin = 2", "thin = 1")
    )
    whole = start(config, "whole")
    assert run_block_by_block(config, Path("pieces")) > 20
    assert_same_samples(Path("pieces"), samples_of(Path("whole")))
    pieces = campaign.open_run("pieces")
    for ours, theirs in zip(pieces.points, whole.points, strict=True):
        assert ours.coords.equals(theirs.coords)


def test_what_a_surrogate_learnt_goes_along_the_scan():
    run = start(scan(('"random-flip"', '"surrogate"'), ("warmup = 7", "warmup = 12")))
    found = [learnt for _, learnt in sorted(run.attrs["learnt"].items())]
    assert len(found) == 4
    assert found[0]["gradients"] == found[-1]["gradients"]  # none is evaluated anew
    assert found[-1]["energies"] > found[0]["energies"]


def test_a_point_ends_once_its_composition_is_known_well_enough():
    precise = "seed = 11\nprecision = { composition = 0.02 }"
    run = start(
        scan(("draws = 25", "draws = 800"), ("thin = 2", "thin = 16"), ("seed = 11", precise))
    )
    assert run.attrs["ended_by"] == ["precision"] * 4
    for point in analysis.analyze_run(run)["points"]:
        assert point["n_draws"] < 800
        assert point["composition"]["B"]["Zr"]["error"] <= 0.02
    assert "precision" not in [c["code"] for c in analysis.analyze_run(run)["caveats"]]


def test_a_point_that_holds_one_species_is_never_precise_enough():
    goals = 'seed = 11\nprecision = { composition = 0.5, "rock-salt" = 0.5 }'
    orders = ("[analysis]", '[analysis]\norders = ["rock-salt"]')
    pure = ("[0.05, -0.05]", "[5.0, 6.0]")
    run = start(scan(pure, orders, ("seed = 11", goals), ("p = 7", "p = 200")))
    assert run.attrs["ended_by"] == ["draws"] * 4
    point = analysis.analyze_run(run)["points"][-1]
    assert not point["converged"]
    assert point["composition"]["B"]["Zr"] == {
        "mean": 1.0,
        "error": None,
        "ess": 0.0,
        "rhat": None,
        "converged": False,
        "why": point["energy"]["why"],
    }
    assert "one species" in point["orders"]["rock-salt"]["why"]


def test_a_charge_that_fluctuates_is_told_before_the_run():
    told: list[str] = []
    charged = ("[potential]", "[sublattices.B]\ncharges = { Ti = 4, Zr = 5 }\n[potential]")
    run = start(scan(charged), warn=told.append)
    assert len(told) == 1
    assert "the cell's charge fluctuates" in told[0]
    (caveat,) = [c for c in analysis.analyze_run(run)["caveats"] if c["code"] == "charge"]
    assert re.search(r"carry \+\d+ to \+\d+ e", caveat["text"])


class Observing(ToyPotential):
    """Stands for a model whose kernel stores more than the occupation."""


def test_what_a_kernel_observes_is_stored(monkeypatch):
    from alchemc.sampler import RandomFlip

    def observe(self, state):
        return {"bath_temperature": np.full(len(state.energy), 7.0)}

    monkeypatch.setattr(RandomFlip, "observe", observe, raising=False)
    run = start(scan())
    assert (run.points[2]["bath_temperature"].values == 7.0).all()
    assert run.points[2]["bath_temperature"].units == "K"
    next(Path("run/samples.zarr/point-002/bath_temperature").glob("c.*")).unlink()
    with pytest.raises(StoredRunError, match="bath_temperature"):
        campaign.open_run("run")
    import shutil

    shutil.rmtree("run/samples.zarr/point-002/bath_temperature")
    with pytest.raises(StoredRunError, match="bath_temperature is missing"):
        campaign.open_run("run")


# ---- charges ---------------------------------------------------------------------------------

NEUTRAL = """
[structure]
prototype = "perovskite"
A = ["La", "Sr"]
B = ["Al", "Ti"]
X = "O"
a = 3.85
supercell = [2, 2, 1]
spectator_charges = { O = -2 }
[sublattices.A]
composition = { La = 0.5, Sr = 0.5 }
charges = { La = 3, Sr = 2 }
[sublattices.B]
composition = { Al = 0.5, Ti = 0.5 }
charges = { Al = 3, Ti = 4 }
[potential]
kind = "toy"
model = "0.02"
[ensemble]
kind = "charge-neutral"
temperatures = [2000]
chemical_potentials = { A = { Sr = [-0.1, 0.1] } }
[sampler]
kind = "surrogate"
[run]
chains = 2
draws = 20
warmup = 12
seed = 3
"""


@pytest.mark.parametrize("kind", ["surrogate", "table-exchange"])
def test_a_charge_neutral_scan_keeps_the_charge_and_changes_the_composition(kind):
    run = start(scan(('"surrogate"', f'"{kind}"'), text=NEUTRAL))
    assert run.config["ensemble"]["charge"] == 24.0
    for point in run.points:
        occupation = point["occupation"].values.reshape(-1, 8)
        strontium, titanium = (occupation[:, part].sum(axis=1) for part in (slice(4), slice(4, 8)))
        assert (strontium == titanium).all()
    assert "charge" not in [c["code"] for c in analysis.analyze_run(run)["caveats"]]
    counts = {int(n) for p in run.points for n in p["occupation"].values[..., :4].sum(axis=-1).flat}
    assert len(counts) > 2


def test_a_charge_neutral_start_must_be_neutral_and_have_charges():
    with pytest.raises(InputError, match=r"carry \+25 e, and a charge-neutral run keeps \+24"):
        start(scan(("{ Al = 0.5, Ti = 0.5 }", "{ Al = 0.25, Ti = 0.75 }"), text=NEUTRAL))
    bare = NEUTRAL.replace("charges = { La = 3, Sr = 2 }\n", "")
    bare = bare.replace("charges = { Al = 3, Ti = 4 }\n", "")
    with pytest.raises(InputError, match="no charges"):
        start(campaign.parse_config(bare.replace("spectator_charges = { O = -2 }\n", "")))
    with pytest.raises(InputError, match="random-swap alone keeps the composition"):
        scan(('"surrogate"', '"random-swap"'), text=NEUTRAL)
    with pytest.raises(InputError, match="random-flip changes the charge"):
        scan(('"surrogate"', '"random-flip"'), text=NEUTRAL)


def test_a_charge_that_leaves_the_composition_no_choice_is_refused_before_the_run():
    fixed = ("temperatures = [2000]", 'temperatures = [2000]\nfixed = ["A"]')
    on_b = ("{ A = { Sr = [-0.1, 0.1] } }", "{ B = { Ti = [-0.1, 0.1] } }")
    with pytest.raises(InputError, match=r"cannot be sampled: .* no species count free"):
        start(scan(fixed, on_b, text=NEUTRAL))
    assert not Path("run").exists()


def test_the_charge_of_the_start_is_kept_where_spectators_have_none():
    config = scan(("spectator_charges = { O = -2 }\n", ""), text=NEUTRAL)
    config = scan(("{ Al = 0.5, Ti = 0.5 }", "{ Al = 0.25, Ti = 0.75 }"), text=NEUTRAL).model_copy(
        update={"structure": config.structure}
    )
    config = config.model_copy(update={"run": config.run.model_copy(update={"draws": 2})})
    assert start(config).config["ensemble"]["charge"] == 25.0


# ---- a constrained variance ------------------------------------------------------------------

CONSTRAINED = SCAN.replace('"semi-grand"', '"variance-constrained"').replace(
    f"chemical_potentials = {MU}", "phi = { B = { Ti = [-1.6, -1.0, -0.4] } }\nkappa = 20"
)


def test_slopes_of_the_free_energy_are_those_of_the_ensemble_and_of_enumeration(record_property):
    from ase.units import kB

    once = '[6000]\nsweep = "up"'
    changes = [("draws = 25", "draws = 400"), ("thin = 2", "thin = 12"), ("[3000]", once)]
    run = start(scan(*changes, text=CONSTRAINED))
    states = run.lattice.enumerate()
    energy = run.hamiltonian().energy(states)
    for point in analysis.analyze_run(run)["points"]:
        where = point["coordinates"]
        ensemble = alchemc.ensembles.VarianceConstrained(
            run.lattice, where["temperature"], {"B": {"Ti": where["phi_B_Ti"]}}, where["kappa"]
        )
        log = ensemble.log_density(energy, states)
        p = np.exp(log - log.max())
        counts = np.einsum("n,nsk->sk", p / p.sum(), run.lattice.counts(states))
        exact = ensemble.free_energy_derivative(counts)[0, 0] * kB * where["temperature"]
        found = point["free_energy_slopes"]["B"]["Ti"]
        z = (found["mean"] - exact) / found["error"]
        record_property("z", round(z, 2))
        print(f"slope {found['mean']:.4f} against {exact:.4f} eV, z = {z:.2f}")
        assert abs(z) < 4.5
        if abs(exact) > 0.3:  # half the slope, a common slip, would be seen
            assert abs(0.5 * found["mean"] - exact) > 5 * found["error"]


def test_kappa_has_a_default_and_the_last_species_no_phi():
    run = start(scan(("kappa = 20", ""), text=CONSTRAINED))
    assert run.config["ensemble"]["kappa"] == 4.0  # half of eight sites
    assert float(run.points[0]["kappa"]) == 4.0
    assert "stiff" not in [c["code"] for c in analysis.analyze_run(run)["caveats"]]
    with pytest.raises(InputError, match="last species"):
        start(scan(("Ti = [-1.6", "Zr = [-1.6"), text=CONSTRAINED), "other")


def test_a_kappa_that_holds_one_composition_is_told_before_and_after():
    told: list[str] = []
    run = start(scan(("kappa = 20", "kappa = 200"), text=CONSTRAINED), warn=told.append)
    (line,) = told
    assert "κ = 200 holds fractions on B to 0.018, less than half the step 1/8" in line
    assert "take κ = 4" in line
    (caveat,) = [c for c in analysis.analyze_run(run)["caveats"] if c["code"] == "stiff"]
    assert caveat["text"] == line


@pytest.mark.parametrize("n", [8, 32])
def test_slopes_of_an_ideal_mixture_are_as_far_off_as_stated(n):
    """Exact sums: 0.12 k_BT at κ = N, 0.3 at 2N, 1.4 at 4N."""
    counts = np.arange(n + 1)
    log_ways = np.array([math.log(math.comb(n, int(k))) for k in counts])

    def worst(kappa):
        errors = []
        for phi in np.linspace(-1.6, -0.4, 61):
            log = log_ways - kappa * n * (counts / n + phi / 2) ** 2
            p = np.exp(log - log.max())
            mean = p @ counts / n / p.sum()
            errors.append(abs(-2 * kappa * (mean + phi / 2) - math.log(mean / (1 - mean))))
        return max(errors)

    assert worst(n / 2) < 0.08
    assert worst(n) < 0.12
    assert worst(2 * n) < 0.3
    assert 1.0 < worst(4 * n) < 1.4


# ---- hysteresis ------------------------------------------------------------------------------


def two_ways(there, back, errors=0.01, axis="mu_B_Zr"):
    """Layout and quantities of made-up fractions on the way there and back."""
    values = np.linspace(-0.2, 0.2, len(there))
    ways = [(0.0, values, there), (1.0, values[::-1], back[::-1])]
    coordinates = [
        {"temperature": 900.0, axis: float(v), "sweep": way} for way, vs, _ in ways for v in vs
    ]
    quantities = [
        {"fraction of Zr on B": Summary(float(m), errors, 500.0, 1.0, True)}
        for _, _, means in ways
        for m in means
    ]
    return layout(coordinates), quantities


def test_ways_that_agree_are_said_to_agree():
    means = np.array([0.1, 0.2, 0.5, 0.8, 0.9])
    (loop,) = loops_of(*two_ways(means, means + np.array([0.01, -0.01, 0.0, 0.012, 0.0])))
    assert not any(loop.differs)
    assert (loop.lower, loop.upper) == (None, None)
    assert "up and down agree in the fraction of Zr on B at all 5 points" in loop.text
    assert loop.z[0] == pytest.approx(0.01 / np.hypot(0.01, 0.01))


def test_values_that_differ_by_rounding_are_compared():
    values = np.linspace(-0.2, 0.2, 9)
    back = np.linspace(0.2, -0.2, 9)
    assert set(values) != set(back)
    found = layout(
        [
            {"temperature": 900.0, "mu_B_Zr": mu, "sweep": way}
            for way, mus in ((0.0, values), (1.0, back))
            for mu in mus
        ]
    )
    assert len({place.value for place in found.places}) == 9
    (loop,) = loops_of(found, [{"energy": Summary(0.0, 0.1, 500.0, 1.0, True)}] * 18)
    assert len(loop.values) == 9


def test_a_value_that_rounding_leaves_of_zero_is_called_zero():
    phis = (-0.9, -0.3, 2.2e-15, 0.3)
    found = layout([{"temperature": 900.0, "phi_B_Zr": phi} for phi in phis])
    assert found.labels[2] == "900 K, φ(Zr) on B = 0"
    assert found.written[2] == "900 K, φ(Zr) on B = 0"
    assert found.places[2].value == 0.0
    alone = layout([{"temperature": 900.0, "phi_B_Zr": -2.2e-15, "kappa": 1e-9}])
    assert "e-15" not in alone.labels[0]
    assert layout([{"temperature": t, "pressure": 1e-6} for t in (1.0, 2.0)]).labels[0] == "1 K"


def test_the_range_in_which_the_ways_differ_is_found():
    there = np.array([0.1, 0.12, 0.15, 0.2, 0.9])
    back = np.array([0.1, 0.8, 0.85, 0.88, 0.9])
    (loop,) = loops_of(*two_ways(there, back))
    assert loop.differs == (False, True, True, True, False)
    assert (loop.lower, loop.upper) == (pytest.approx(-0.2), pytest.approx(0.2))
    assert "differ in the fraction of Zr on B from −0.1 to 0.1 eV (by up to 0.7" in loop.text
    assert "lies between −0.2 eV and 0.2 eV" in loop.text
    area, error = loop.area
    assert area == pytest.approx(0.1 * (0.68 + 0.7 + 0.68))
    assert error == pytest.approx(np.sqrt(2) * 0.01 * 0.1 * np.sqrt(3.5))


def test_ways_that_do_not_meet_are_not_given_a_bracket():
    flat = np.zeros(3)
    (loop,) = loops_of(*two_ways(flat, flat + 1.0))
    assert "do not meet within the scan" in loop.text
    (loop,) = loops_of(*two_ways(flat, np.array([0.0, 1.0, 1.0])))
    assert "lies above −0.2 eV; they do not meet higher up" in loop.text
    (loop,) = loops_of(*two_ways(flat, np.array([1.0, 1.0, 0.0])))
    assert "lies below 0.2 eV" in loop.text


def test_frozen_ways_differ_without_an_error_and_agree_without_one():
    frozen = Summary(0.0, float("nan"), 0.0, float("nan"), False)
    found, _ = two_ways(np.zeros(2), np.zeros(2))
    name = "fraction of Zr on B"
    states = [frozen, frozen, frozen._replace(mean=1.0), frozen]
    (loop,) = loops_of(found, [{name: s} for s in states])
    assert loop.differs == (False, True)
    assert loop.z == (0.0, np.inf)
    assert "At 2 of 2 points the chains did not converge" in loop.text


def test_loops_without_hysteresis_are_called_so_as_often_as_stated(record_property):
    """A binomial test of 2000 loops against 5 %: it would fail by chance once in 10,000 seeds."""
    rng = np.random.default_rng(7)
    alarms = 0
    for _ in range(2000):
        there, back = rng.normal(0.5, 0.01, size=(2, 9))
        (loop,) = loops_of(*two_ways(there, back))
        alarms += any(loop.differs)
    verdict = binomtest(alarms, 2000, 0.05)
    record_property("p", verdict.pvalue)
    print(f"{alarms} of 2000 loops called hysteresis, p = {verdict.pvalue:.3f}")
    assert verdict.pvalue > 1e-4
    # A bound of 2σ at every point would cry wolf in a third of them.
    assert binomtest(round(2000 * (1 - 0.9545**9)), 2000, 0.05).pvalue < 1e-6


def test_points_of_too_few_draws_are_not_compared():
    lattice = builders.perovskite("Sr", ("Ti", "Zr"), "O", a=4.0, size=(2, 2, 2))
    rng = np.random.default_rng(1)

    def run(*draws):
        points = []
        for sweep, mus in enumerate([(-0.1, 0.1), (0.1, -0.1)]):
            for mu, n in zip(mus, draws[:: 1 - 2 * sweep], strict=True):
                occupation = (rng.random((n, 2, 8)) < 0.5).astype(np.uint8)
                arrays = {"occupation": occupation, "energy": rng.normal(size=(n, 2))}
                where = {"temperature": 900.0, "mu_B_Zr": mu, "sweep": float(sweep)}
                points.append(point_dataset(arrays, where))
        return Run(tuple(points), lattice)

    for n in (1, 2, 3):
        assert analysis.hysteresis(run(n, n)) == ()
    for loop in analysis.hysteresis(run(2, 40)):
        assert loop.values == (0.1,)
    assert len(analysis.hysteresis(run(2, 40))) == 2


def test_runs_of_one_way_have_no_loop():
    one = start(scan(("temperatures = [3000]", 'temperatures = [3000]\nsweep = "up"')))
    assert analysis.hysteresis(one) == ()
    codes = [c["code"] for c in analysis.analyze_run(one)["caveats"]]
    assert "one-way" in codes
    assert "hysteresis" not in codes


STUCK = [  # a strong attraction in the cold: each way keeps what it comes from
    ("-0.02", "-0.2"),
    ("[0.05, -0.05]", "[-2.0, 0.0, 2.0]"),
    ("draws = 25", "draws = 60"),
    ("warmup = 7", "warmup = 60"),
    ("thin = 2", "thin = 8"),
]


@pytest.fixture
def stuck():
    return start(scan(*STUCK))


def test_metastable_branches_show_in_the_terminal_and_the_report(stuck, capsys):
    loops = analysis.hysteresis(stuck)
    assert [loop.quantity for loop in loops] == ["fraction of Zr on B", "energy"]
    assert loops[0].differs == (False, True, False)
    assert loops[0].curve == "3,000 K"
    results = analysis.analyze_run(stuck)
    json.dumps(results, allow_nan=False)
    assert [loop["text"] for loop in results["hysteresis"]] == [loop.text for loop in loops]
    (caveat,) = [c for c in results["caveats"] if c["code"] == "hysteresis"]
    assert caveat["text"] == loops[0].text
    assert main(["analyze", "run"]) == 3
    output = capsys.readouterr().out
    assert loops[0].text in " ".join(output.split())
    assert re.search(r"3000 +0 +up +0\.0", output)
    assert re.search(r"3000 +0 +down +(1\.0|0\.9)", output)
    page = report_page(stuck, results)
    assert "There and back" in page
    assert "Up and down differ" in page
    assert "Against μ(Zr) on B" in page
    assert "<b>Hysteresis.</b>" in page
    assert 'id="plot-composition"' in page
    assert 'id="plot-capacity"' not in page
    assert "any mixture of Ti, Zr" in page


def test_pure_ends_of_a_scan_are_told_from_chains_that_are_stuck(stuck):
    results = analysis.analyze_run(stuck)
    points = {(p["value"], p["direction"]): p for p in results["points"]}
    for value, phase in ((-2.0, "Ti on B"), (2.0, "Zr on B")):
        for way in ("up", "down"):
            assert points[value, way]["pure"] == phase
            assert points[value, way]["converged"]
    for way in ("up", "down"):  # one species there too, but the other way holds the other one
        assert not points[0.0, way]["pure"]
        assert not points[0.0, way]["converged"]
        assert "never changed" in points[0.0, way]["energy"]["why"]
    (caveat,) = [c for c in results["caveats"] if c["code"] == "pure"]
    assert caveat["level"] == "note"
    assert "Ti on B (3,000 K, μ(Zr) on B = −2 eV, up; " in caveat["text"]
    assert "of 120 draws" in caveat["text"]
    assert "below some 2.5 %" in caveat["text"]
    assert [loop.text for loop in analysis.hysteresis(stuck)] == [
        loop["text"] for loop in results["hysteresis"]
    ]
    page = report_page(stuck, results)
    assert 'title="Zr on B alone">✓ pure</td>' in page
    assert "<b>Pure phases.</b>" in page


def test_a_scan_of_pure_phases_is_done_and_has_no_precision_to_miss(capsys):
    pure = ("[0.05, -0.05]", "[-6.0, 6.0]")
    precise = ("seed = 11", "seed = 11\nprecision = { composition = 0.01 }")
    text = SCAN
    for old, new in (pure, precise, ("draws = 25", "draws = 50"), ("warmup = 7", "warmup = 99")):
        text = text.replace(old, new)
    Path("scan.toml").write_text(text)
    assert main(["run", "scan.toml", "-o", "run", "--quiet"]) == 0
    output = capsys.readouterr()
    assert not output.err
    assert re.search(r"3000 +6 +up +1 +-?[0-9.]+ +[0-9.]+ +– +– +pure", output.out)
    codes = [c["code"] for c in analysis.analyze_run(campaign.open_run("run"))["caveats"]]
    assert "pure" in codes
    assert not {"unconverged", "precision"} & set(codes)


def test_a_composition_that_no_draw_ever_left_is_not_called_a_phase():
    lattice = build.build_crystal(scan(), Path()).lattice
    arrays = {"occupation": np.ones((100, 2, 8), int), "energy": np.zeros((100, 2))}
    where = {"temperature": 900.0, "mu_B_Ti": 0.0, "mu_B_Zr": 0.1}
    (point,) = analysis.analyze_run(Run((point_dataset(arrays, where),), lattice))["points"]
    assert not point["pure"]
    assert not point["converged"]


def test_no_slope_is_read_off_a_pure_phase():
    lattice = build.build_crystal(scan(), Path()).lattice
    rng = np.random.default_rng(4)
    points = tuple(
        point_dataset(
            {"occupation": occupation, "energy": occupation.mean(axis=-1)},
            {"temperature": 900.0, "phi_B_Ti": phi, "kappa": 4.0},
        )
        for occupation, phi in (
            (np.zeros((200, 2, 8), int), -3.0),
            (rng.integers(0, 2, (200, 2, 8)), -1.0),
        )
    )
    pure, mixed = analysis.analyze_run(Run(points, lattice))["points"]
    assert pure["pure"] == "Ti on B"
    assert not pure["free_energy_slopes"]["B"]["Ti"]["converged"]
    assert "never left 0 or 1" in pure["free_energy_slopes"]["B"]["Ti"]["why"]
    assert mixed["free_energy_slopes"]["B"]["Ti"]["converged"]


def test_a_species_that_stays_away_leaves_the_others_to_be_judged():
    from alchemc import builders

    lattice = builders.rocksalt(("Mg", "Ca", "Sr"), "O", a=4.6)
    rng = np.random.default_rng(2)
    points = tuple(
        point_dataset(
            {"occupation": rng.integers(0, n, (200, 2, 4)), "energy": rng.normal(size=(200, 2))},
            {"temperature": 900.0, "mu_cation_Sr": mu},
        )
        for n, mu in ((2, -0.4), (3, 0.0))
    )
    results = analysis.analyze_run(Run(points, lattice))
    first = results["points"][0]
    assert first["converged"]
    assert not first["pure"]
    assert first["composition"]["cation"]["Sr"]["mean"] == 0.0
    (caveat,) = [c for c in results["caveats"] if c["code"] == "pure"]
    assert "no Sr on cation (900 K, μ(Sr) on cation = −0.4 eV)" in caveat["text"]


def test_sweeps_of_the_temperature_are_compared_both_ways():
    text = TOY.replace("[1000, 2000]", '[4000, 8000, 16000]\nsweep = "both"')
    run = start(campaign.parse_config(text.replace("draws = 25", "draws = 120")))
    loops = analysis.hysteresis(run, orders=["rock-salt"])
    assert [loop.quantity for loop in loops] == ["energy", "rock-salt"]
    assert loops[0].values == (4000.0, 8000.0, 16000.0)
    assert loops[0].area is None
    assert not any(loops[0].differs)
    results = analysis.analyze_run(run)
    assert [p["direction"] for p in results["points"]] == ["down", "up"] * 3
    assert results["points"][0]["heat_capacity"]["mean"] > 0
    assert "On the way down: " in results["transition"]["text"]
    page = report_page(run, results)
    assert "Against temperature" in page
    assert "on the way down; dashed and open: up" in page
    assert 'id="plot-capacity"' in page


def test_the_temperature_is_swept_at_a_fixed_chemical_potential():
    changes = [
        ("{ B = { Zr = [0.05, -0.05] } }", "{ B = { Zr = 0.05 } }"),
        ("draws = 25", "draws = 99"),
    ]
    run = start(
        scan(*changes, ("[3000]", '[3000, 6000]\nsweep = "both"'), ("thin = 2", "thin = 16"))
    )
    assert [float(p.temperature) for p in run.points] == [6000.0, 3000.0, 3000.0, 6000.0]
    results = analysis.analyze_run(run)
    assert results["transition"] is None  # its composition changes along the way
    assert {loop["quantity"] for loop in results["hysteresis"]} == {"fraction of Zr on B", "energy"}
    assert results["layout"]["title"] == "Temperature (K)"
    page = report_page(run, results)
    assert 'id="plot-composition"' in page
    assert "Apparent ordering temperature" not in page


# ---- terminal, files, figures ----------------------------------------------------------------


def test_status_and_progress_name_what_is_scanned(capsys):
    Path("scan.toml").write_text(SCAN)
    assert main(["run", "scan.toml", "-o", "run", "--quiet"]) == 3
    output = capsys.readouterr()
    assert "3000 K, μ(Zr) on B = -0.05 eV, up (1/4) done" in output.out
    assert "not converged: 3000 K, μ(Zr) on B = 0.05 eV, down; " in output.err
    assert main(["status", "run"]) == 0
    table = capsys.readouterr().out
    assert "μ(Zr) on B (eV)" in table
    assert re.search(r"2 +3000 +0\.05 +down +25/25 +done", table)
    assert main(["status", "run", "--json"]) == 0
    point = json.loads(capsys.readouterr().out)["points"][2]
    assert point["coordinates"] == {
        "temperature": 3000.0,
        "mu_B_Ti": 0.0,
        "mu_B_Zr": 0.05,
        "sweep": 1.0,
    }


def test_numbers_of_a_scan_have_their_coordinates_in_the_csv(capsys):
    start(scan())
    main(["analyze", "run", "--csv"])
    rows = [line.split(",") for line in capsys.readouterr().out.splitlines()]
    assert rows[0][-3:] == ["mu_B_Ti_eV", "mu_B_Zr_eV", "sweep"]
    fractions = [row for row in rows if row[1] == "fraction Zr on B"]
    assert [row[-2:] for row in fractions] == [
        ["-0.05", "0.0"],
        ["-0.05", "1.0"],
        ["0.05", "0.0"],
        ["0.05", "1.0"],
    ]


def test_exports_of_a_scan_know_their_point(capsys):
    from ase.io import read

    run = start(scan())
    assert main(["export", "run", "two.extxyz", "--point", "2"]) == 0
    frames = read("two.extxyz", ":")
    assert len(frames) == 50
    assert frames[0].info["mu_B_Zr"] == 0.05
    assert frames[0].info["sweep"] == 1.0
    found = run.lattice.from_atoms(frames[3])
    np.testing.assert_array_equal(found, run.points[2]["occupation"].values[3, 0])
    assert main(["export", "run", "x.extxyz", "--point", "4"]) == 2
    assert "points 0 to 3" in capsys.readouterr().err
    assert main(["export", "run", "run.dc", "--chain", "0"]) == 2
    assert "--point" in capsys.readouterr().err
    assert main(["export", "run", "run.dc", "--chain", "0", "--point", "1"]) == 0


def test_a_scan_that_is_not_finished_is_read_as_a_scan():
    asked = itertools.count()
    campaign.start_run(scan(), "run", should_stop=lambda: next(asked) > 25)
    run = campaign.open_run("run")
    results = analysis.analyze_run(run)
    assert results["layout"]["axis"] == "mu_B_Zr"
    assert "unfinished" in [c["code"] for c in results["caveats"]]
    report_page(run, results)
    logged = [e["event"] for e in events.read(Path("run/events.jsonl"))]
    assert "temperature done" not in logged


def test_figures_of_a_scan_name_what_is_scanned(stuck, tmp_path):
    results = analysis.analyze_run(stuck)
    for draw in (plots.plot_composition, plots.plot_energy):
        figure = draw(results)
        assert figure.axes[0].get_xlabel() == "μ(Zr) on B (eV)"
        labels = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
        assert labels == ["3,000 K, up", "3,000 K, down"]
    with pytest.raises(InputError, match="no heat capacity"):
        plots.plot_heat_capacity(results)
    with pytest.raises(InputError, match="variance-constrained runs only"):
        plots.plot_free_energy_slope(results)
    constrained = analysis.analyze_run(start(scan(text=CONSTRAINED), "constrained"))
    axes = plots.plot_free_energy_slope(constrained).axes[0]
    assert axes.get_xlabel() == "Fraction of Ti on B"
    canonical = analysis.analyze_run(start(campaign.parse_config(TOY), "canonical"))
    with pytest.raises(InputError, match="keeps its composition"):
        plots.plot_composition(canonical)


PROBE = """
<script>
(() => {
  const found = { errors: [], violations: [] };
  addEventListener("error", (e) => found.errors.push(String(e.message)));
  document.addEventListener("securitypolicyviolation", (e) => found.violations.push(e.blockedURI));
  setTimeout(() => {
    const plots = [...document.querySelectorAll(".plot")];
    found.plots = plots.map((p) => p.id);
    found.unplotted = plots.filter((p) => !p.querySelector(".trace, .hm")).map((p) => p.id);
    const names = (id) => document.getElementById(id)?.data.map((t) => [t.name, t.line?.dash]);
    found.lines = names("plot-composition");
    found.slopes = document.getElementById("plot-slope")?.data[0].x;
    found.points = [...document.getElementById("trace-temperature").options].map((o) => o.text);
    const select = document.getElementById("trace-quantity");
    select.selectedIndex = [...select.options].findIndex((o) => o.text.startsWith("fraction"));
    select.dispatchEvent(new Event("change"));
    found.trace = document.getElementById("plot-traces").data.length;
    const result = document.createElement("pre");
    result.id = "probe";
    result.textContent = JSON.stringify(found);
    document.body.append(result);
  }, 1500);
})();
</script>
"""


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium to open the report in")
@pytest.mark.parametrize("text", [SCAN, CONSTRAINED], ids=["semi-grand", "variance-constrained"])
def test_the_figures_of_a_scan_are_drawn_in_a_browser(text, tmp_path):
    page = report_page(start(scan(text=text)))
    path = tmp_path / "report.html"
    path.write_text(page.replace("</body>", PROBE + "</body>"), encoding="utf-8")
    done = browse(path, tmp_path, "--window-size=1280,900")
    found = json.loads(re.search(r'<pre id="probe">(.*?)</pre>', done.stdout).group(1))
    assert found["errors"] == found["violations"] == found["unplotted"] == []
    lines = [line for line in found["lines"] if line[0] != "not converged"]
    assert lines == [["3,000 K, up", "solid"], ["3,000 K, down", "dash"]]
    assert found["points"][0].startswith("3,000 K, ")
    assert found["trace"] == 2
    if text is CONSTRAINED:
        assert found["plots"][0] == "plot-slope"
        assert found["slopes"] == sorted(found["slopes"])
    else:
        assert "plot-slope" not in found["plots"]


# ---- runs in memory --------------------------------------------------------------------------


def test_points_made_in_memory_are_read_as_a_scan():
    from alchemc import PairHamiltonian, SemiGrandCanonical, builders, sample
    from alchemc.sampler import RandomFlip

    lattice = builders.perovskite("Sr", ("Ti", "Zr"), "O", a=3.98, size=(2, 2, 2))
    free, points = PairHamiltonian(lattice, []), []
    for mu in (-0.1, 0.0, 0.1):
        kernel = RandomFlip(free, SemiGrandCanonical(lattice, 1000.0, {"Zr": mu}))
        points += sample(kernel, np.zeros(8, int), n_steps=2000, n_replicas=2, thin=10).points
    results = analysis.analyze_run(Run(tuple(points), lattice), orders=[], shells=0)
    assert results["layout"]["axis"] == "mu_B_Zr"
    assert results["layout"]["directions"] == ["up"]
    found = [p["composition"]["B"]["Zr"] for p in results["points"]]
    for mu, number in zip((-0.1, 0.0, 0.1), found, strict=True):  # an ideal mixture
        exact = 1 / (1 + np.exp(-mu / 8.617333262e-5 / 1000.0))
        assert abs(number["mean"] - exact) < 4.5 * number["error"]


def test_a_ladder_is_no_scan_of_one_way_and_a_cooling_no_point():
    from alchemc import Annealing, PairHamiltonian, SemiGrandCanonical, Tempering, sample
    from alchemc.sampler import RandomFlip

    lattice = builders.perovskite("Sr", ("Ti", "Zr"), "O", a=3.98, size=(2, 2, 2))
    kernel = RandomFlip(PairHamiltonian(lattice, []), SemiGrandCanonical(lattice, 1000.0, {}))
    ladder = Tempering(kernel, chemical_potentials={"Zr": [-0.1, 0.1]}, steps=8)
    run = sample(ladder, np.zeros(8, int), n_steps=20, n_replicas=2)
    results = analysis.analyze_run(run)
    assert results["layout"]["axis"] == "mu_B_Zr"
    assert "one-way" not in [caveat["code"] for caveat in results["caveats"]]
    cooled = sample(Annealing(kernel, end=500.0, n_steps=20), np.zeros(8, int), n_steps=20)
    with pytest.raises(InputError, match=r"fell along the way, .* take ensembles\.lowest"):
        analysis.analyze_run(cooled)


def test_two_scanned_potentials_tell_curves_apart():
    rng = np.random.default_rng(0)
    lattice = build.build_crystal(scan(), Path()).lattice
    arrays = {"occupation": rng.integers(0, 2, (20, 2, 8)), "energy": rng.normal(size=(20, 2))}
    points = tuple(
        point_dataset(arrays, {"temperature": 900.0, "mu_B_Ti": a, "mu_B_Zr": b})
        for a in (0.0, 0.1)
        for b in (0.2, 0.3)
    )
    found = analysis.analyze_run(Run(points, lattice), orders=[], shells=0)["layout"]
    assert found["axis"] == "mu_B_Ti"
    assert found["curves"] == ["900 K, μ(Zr) on B = 0.2 eV", "900 K, μ(Zr) on B = 0.3 eV"]


# ---- examples --------------------------------------------------------------------------------

SMALL = {
    "mgo_cao_semi_grand": {"supercell": [1, 1, 1]},
    "mgo_cao_variance_constrained": {"supercell": [1, 1, 1]},
    "la_sr_al_ti_charge_neutral": {"supercell": [2, 1, 1]},
}


@pytest.mark.slow
@pytest.mark.parametrize("name", SMALL)
def test_the_examples_run_at_small_size(name, monkeypatch, capsys):
    config = campaign.load_config(EXAMPLES / f"{name}.toml")
    structure = config.structure.model_copy(update=SMALL[name])
    short = config.run.model_copy(update={"draws": 3, "warmup": 6, "chains": 2})
    run = start(config.model_copy(update={"structure": structure, "run": short}))
    results = analysis.analyze_run(run)
    assert len(results["points"]) == len(list(config.ensemble.visits()))
    assert results["points"][0]["composition"]
    assert not any(c["code"] == "domain" for c in results["caveats"])
    report_page(run, results)
