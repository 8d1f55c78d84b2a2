"""Stored results on every subject become sections: nothing of them is lost or misread."""

import numpy as np
import pytest

from alchemc import PairHamiltonian, RandomFlip, SemiGrandCanonical, analysis, builders, sample
from alchemc.analysis import analyze_run
from alchemc.campaign.findings import Finding, read_findings, store_finding
from alchemc.campaign.report_campaign import campaign_page
from alchemc.campaign.report_figures import draw_figure
from alchemc.campaign.report_findings import ADAPTERS, finding_section
from alchemc.campaign.report_html import section_html
from alchemc.campaign.report_joint import members_of
from alchemc.campaign.report_parts import Figure, Series
from alchemc.campaign.report_stability import ordering_section
from alchemc.campaign.report_together import together_sections
from alchemc.campaign.report_waves import screen_section
from alchemc.records import Run


def flips(length: int, coupling: float, temperatures, mus=(0.0,)) -> Run:
    """Semi-grand runs of the nearest-neighbour model on a simple cubic net."""
    lattice = builders.perovskite("Sr", ("Sc", "Ta"), "O", a=4.0, size=(length,) * 3)
    model = PairHamiltonian(lattice, [coupling * np.array([[1, -1], [-1, 1]])])
    points = []
    for t in temperatures:
        for mu in mus:
            kernel = RandomFlip(model, SemiGrandCanonical(lattice, t, {"Ta": mu}))
            start = np.zeros(lattice.n_sites, dtype=np.int8)
            points += sample(kernel, start, n_steps=60_000, n_replicas=2, thin=100).points
    return Run(tuple(points), lattice)


@pytest.fixture(scope="module")
def sizes() -> list[Run]:
    """Two sizes through the ordering of an antiferromagnet, whose composition is kept at ½."""
    return [flips(length, 0.02, (900.0, 1000.0, 1100.0, 1200.0)) for length in (2, 4)]


def shown(subject: str, data: dict, tmp_path):
    """Section of a result after a way through the disk."""
    store_finding(tmp_path, subject, data)
    (finding,) = read_findings(tmp_path)
    section = finding_section(finding)
    for figure in section.figures:
        draw_figure(figure)
    return section, section_html(section)


def test_waves_of_a_crystal(tmp_path):
    lattice = builders.perovskite("Sr", ("Sc", "Ta"), "O", a=4.0, size=(2, 2, 2))
    model = PairHamiltonian(lattice, [0.02 * np.array([[1, -1], [-1, 1]])])
    waves = analysis.concentration_waves(model, {"B": {"Sc": 0.5, "Ta": 0.5}})
    section, text = shown("concentration-waves", waves.to_dict(), tmp_path)
    (table,) = section.tables
    assert [row[0] for row in table.rows] == [wave.name for wave in waves.waves]
    assert table.rows[0][2] == pytest.approx(1e3 * waves.leading.energy)
    assert table.rows[0][1] == "(1/2 1/2 1/2)"
    assert waves.statement.split(".")[0].replace("-", "−")[:40] in text.replace("-", "−")


def test_a_screen_ranks_crystals_and_names_those_that_were_refused(tmp_path):
    wave = {
        "name": "rock-salt", "q": [0.5, 0.5, 0.5], "energy_eV": -0.12, "energies_eV": [-0.12],
        "degenerate": 1, "arms": [], "polarisation": [],
    }  # fmt: skip
    good = {
        "name": "Pb(Sc,Ta)O3", "error": "", "leading": "rock-salt", "strength_eV": 0.12,
        "waves": [wave, {**wave, "name": "columnar", "energy_eV": -0.04}], "gap_eV": 0.08,
        "rescaling": {"slope": 0.9, "error": 0.1, "correlation": 0.99},
        "temperature": {"kelvin": 1200.0, "error": 50.0, "label": "mean field"},
        "no_temperature": "",
        "caveats": [{"level": "warning", "code": "range", "text": "Too small a cell."}],
    }  # fmt: skip
    cold = {**good, "name": "Sr(Ti,Zr)O3", "temperature": None, "rescaling": None}
    bad = {"name": "Xx", "error": "no such element", "strength_eV": None}
    data = {"entries": [good, cold, bad], "statement": "Two were screened."}
    section, text = shown("screen", data, tmp_path)
    rows = {row[0]: row for row in section.tables[0].rows}
    assert rows["Xx"][-1] == "no such element"
    assert "1,200(50)" in text
    assert "0.90(10)" in text
    assert rows["Sr(Ti,Zr)O3"][8] is None
    assert rows["Pb(Sc,Ta)O3"][-1] == "interactions reach across the cell"
    assert section.figures[0].ticks == [(0, "Pb(Sc,Ta)O3"), (1, "Sr(Ti,Zr)O3")]
    assert text.count("Too small a cell.") == 1
    assert "Temperatures: mean field." in text


def test_paths_of_a_screen_break_where_they_jump_and_are_marks_where_v_is_not_known():
    wave = {"name": "rock-salt", "q": [0.5, 0.5, 0.5], "energy_eV": -0.12, "polarisation": []}
    path = {
        "corners": [["Γ", 0.0], ["X", 1.0], ["M", 1.0], ["R", 2.0]],
        "distance_per_A": [0.0, 0.5, 1.0, 1.0, 2.0],
        "lowest_eV": [0.1, 0.0, -0.1, -0.2, -0.3],
        "piece": [0, 0, 0, 1, 1],
        "fits": [True, False, True, True, True],
        "trusted": True,
    }
    row = {
        "name": "A", "error": "", "leading": "rock-salt", "waves": [wave], "gap_eV": None,
        "rescaling": None, "temperature": None, "caveats": [], "path": path,
    }  # fmt: skip
    small = {**row, "name": "B", "path": {**path, "trusted": False}}
    other = {**row, "name": "C", "path": {**path, "corners": [["Γ", 0.0], ["L", 2.0]]}}
    figure = screen_section({"entries": [row, small, other], "statement": "S."}).figures[1]
    assert figure.ticks == [(0.0, "Γ"), (0.5, "X|M"), (1.0, "R")]
    line, marks = figure.series
    assert list(line.y) == [100.0, 0.0, -100.0, None, -200.0, -300.0]
    assert (list(marks.x), marks.line) == ([0.0, 0.5, 0.5, 1.0], None)


def sqs_data() -> dict:
    point = {
        "temperature": 900.0, "mean": -1.0, "error": 0.01, "spread": 0.05, "converged": True,
    }  # fmt: skip
    energy = {
        "kind": "energy", "name": "", "unit": "eV per site",
        "sqs": {"mean": -0.9, "scatter": 0.02}, "random": {"mean": -0.8, "spread": 0.03},
        "points": [{**point, "temperature": 1500.0, "mean": -0.95, "converged": False}, point],
    }  # fmt: skip
    alpha = {**energy, "kind": "warren-cowley", "name": "B: Sc–Ta shell 1", "unit": "1"}
    return {
        "title": "Special quasirandom structures",
        "statement": "The SQS is 100 meV too high.",
        "caveats": [{"level": "warning", "code": "few", "text": "One SQS."}],
        "quantities": [energy, alpha, {**alpha, "kind": "cluster", "name": "pair 1"}],
        "bias": [{"T (K)": 900.0, "bias": {"mean": 100.0, "error": 10.0, "converged": False}}],
    }


def test_a_comparison_with_sqs_is_counted_from_the_random_crystal(tmp_path):
    section, text = shown("sqs", sqs_data(), tmp_path)
    energy, alpha = section.figures
    ensemble, sqs, random = energy.series
    assert energy.y == "Energy (meV per site)"
    assert list(ensemble.x) == [900.0, 1500.0]
    assert ensemble.y == pytest.approx([-200.0, -150.0])
    assert list(ensemble.converged) == [True, False]
    assert sqs.y == pytest.approx([-100.0, -100.0])
    assert sqs.error == pytest.approx([20.0, 20.0])
    assert random.y == pytest.approx([0.0, 0.0])
    assert alpha.series[1].y == pytest.approx([-0.9, -0.9])  # no energy: as it is
    assert 'class="bad"' in text
    assert "One SQS." in text


def test_an_ordering_temperature_with_its_estimates_and_curves(sizes, tmp_path):
    found = analysis.ordering_temperature(sizes, universality="3D Ising", n_resamples=40)
    section, text = shown("ordering-temperature", found.to_dict(), tmp_path)
    assert [row[0] for row in section.tables[0].rows] == [e.name for e in found.estimates]
    assert [row[1] for row in section.tables[1].rows] == [8, 64]
    (scaling,) = section.figures
    line = scaling.series[-1]
    assert line.name == "infinite crystal"
    assert set(line.y) == {found.temperature}
    assert set(line.x) == {1 / 8, 1 / 64}
    drawn = ordering_section(found.to_dict(), found.curves).figures
    assert {figure.title for figure in drawn} > {"Heat capacity by size", "Cumulant by size"}
    assert section_html(ordering_section(found.to_dict(), found.curves))
    assert "infinite crystal" in text


def diagram_data() -> dict:
    def row(kind, t, x, **more):
        common = {"temperature_error": None, "x_error": 0.01, "mu": None, "mu_error": None}
        return {"kind": kind, "temperature": t, "x": x, "certainty": 1.0, **common, **more}

    rows = [
        row(kind, t, x, mu=0.1, mu_error=0.02, extrapolated=t > 1000)
        for kind, t, x in (
            ("binodal", 1000.0, 0.2), ("binodal", 1000.0, 0.8),
            ("binodal", 1100.0, 0.3), ("binodal", 1100.0, 0.7),
        )
    ]  # fmt: skip
    rows.append(row("spinodal", 1000.0, 0.35, extrapolated=False))
    rows.append(row("consolute", 1200.0, 0.5, temperature_error=30.0, extrapolated=True))
    return {"statement": "A gap.", "axis": "fraction of Ta on B", "rows": rows}


def test_a_phase_diagram_bounds_the_gap_and_marks_what_is_extrapolated(tmp_path):
    section, text = shown("phase-diagram", diagram_data(), tmp_path)
    (figure,) = section.figures
    series = {one.name: one for one in figure.series}
    outline = list(zip(series["two phases"].x, series["two phases"].y, strict=True))
    assert outline == [
        (0.2, 1000.0), (0.3, 1100.0), (0.5, 1200.0), (0.7, 1100.0), (0.8, 1000.0), (0.2, 1000.0),
    ]  # fmt: skip
    assert list(series["binodal"].x) == [0.2, 0.8]
    assert list(series["binodal, extrapolated"].x) == [0.3, 0.7]
    assert list(series["consolute point, extrapolated"].error) == [30.0]
    assert "1,200(30)" in text


def test_a_diagram_without_a_gap_is_told_in_words_alone(tmp_path):
    data = {**diagram_data(), "rows": [], "statement": "One phase."}
    section, text = shown("phase-diagram", data, tmp_path)
    assert section.figures == []
    assert "One phase." in text


def test_free_energies_are_counted_from_the_line_of_their_ends(tmp_path):
    rows = [
        {
            "temperature": 900.0,
            "x_B_Ta": x,
            "free_energy": f,
            "free_energy_error": e,
            "converged": c,
        }
        for x, f, e, c in ((1.0, 2.0, 0.0, True), (0.5, 1.1, 0.01, False), (0.0, 1.0, 0.0, True))
    ]
    rows.append({**rows[0], "x_B_Ta": 0.25, "free_energy": None})
    data = {"statement": "F.", "axis": "fraction of Ta on B", "notes": ["Mind."], "rows": rows}
    section, _ = shown("free-energy", data, tmp_path)
    (series,) = section.figures[0].series
    assert list(series.x) == [0.0, 0.5, 1.0]
    assert series.y == pytest.approx([0.0, -400.0, 0.0])
    assert list(series.converged) == [True, False, True]


def test_ground_states_stand_on_their_hull(tmp_path):
    state = {
        "formula": "Sc", "order": "", "space_group": "Pm-3m", "n_cells": 1, "index": 0,
        "composition": {"B: Ta": 0.0}, "formation_energy_per_site": 0.0,
        "above_hull_per_site": 0.0, "depth_per_site": None, "variants": 1, "ground_state": True,
        "energy_per_site": -5.0,
    }  # fmt: skip
    middle = {**state, "formula": "ScTa", "order": "rock-salt", "composition": {"B: Ta": 0.5}}
    middle |= {"formation_energy_per_site": -0.05, "depth_per_site": 0.05}
    data = {
        "statement": "One order.", "variables": ["B: Ta"],
        "ground_states": [middle, state], "next": [{**middle, "above_hull_per_site": 0.01}],
    }  # fmt: skip
    section, _ = shown("ground-states", data, tmp_path)
    states, others = section.figures[0].series
    assert list(states.x) == [0.0, 0.5]
    assert states.y == pytest.approx([0.0, -50.0])
    assert others.line is None
    assert [row[1] for row in section.tables[0].rows] == [None, "rock-salt", "rock-salt"]


def test_every_subject_with_a_form_of_its_own_is_tested_here_or_with_its_command():
    with_commands = {"alchemical-free-energy", "solid-solution"}  # tests/test_*_study.py
    assert set(ADAPTERS) - with_commands == {
        *("concentration-waves", "free-energy", "ground-states", "ordering-temperature"),
        *("phase-diagram", "screen", "sqs"),
    }


# ---- what runs say together


def test_several_sizes_give_an_ordering_temperature(sizes):
    closed = [Run(run.points, run.lattice) for run in sizes]
    members = members_of(closed, [_closed(analyze_run(run)) for run in closed])
    (section,) = together_sections(members)
    assert section.title == "Ordering temperature: rock-salt"
    assert "infinite crystal" in section.statement


def _closed(results: dict) -> dict:
    """Results as those of a run that keeps its composition."""
    layout = {**results["layout"], "free": [], "axis": "temperature"}
    return {**results, "layout": layout, "transition": {"order": "rock-salt"}}


def test_what_cannot_be_determined_is_told_with_its_reason(sizes):
    one = Run(sizes[0].points[:1], sizes[0].lattice)
    other = Run(sizes[1].points[:1], sizes[1].lattice)
    results = [_closed(analyze_run(run)) for run in (one, other)]
    (section,) = together_sections(members_of([one, other], results))
    assert section.figures == ()
    assert section.caveats[0]["level"] == "warning"
    assert "Not determined from 8 sites; 64 sites." in section.caveats[0]["text"]


def test_runs_of_fluctuating_composition_give_free_energies_and_a_diagram():
    runs = [flips(2, 0.0, (t,), (-0.1, -0.03, 0.03, 0.1)) for t in (1500.0, 2000.0)]
    text = campaign_page(runs)
    assert 'id="free-energy"' in text
    assert 'id="phase-diagram"' in text
    assert "One phase is stable" in text  # an ideal solution


def test_an_unknown_subject_is_told_by_its_statement():
    section = finding_section(Finding("own-study", {"statement": "So it is."}, "", None))
    assert section.title == "Own study"
    assert section.sentences == ("So it is.",)


def test_figures_for_a_paper_keep_names_numbers_and_labels_apart():
    name, label = "Pb2ScTaO6, 16 sites, ideal", "F less the line between its ends (meV per site)"
    series = [Series(name, [0.06, 0.12], [1.0, 2.0])]
    drawing = draw_figure(Figure("Scaling", "1 / number of sites", label, series, log="x"))
    drawing.draw_without_rendering()
    (axes,) = drawing.axes
    ticks = [text.get_text() for text in axes.get_xticklabels(which="both")]
    assert all("10^" not in text for text in ticks)
    assert axes.get_legend().get_window_extent().y0 >= axes.get_window_extent().y1
    extent = axes.yaxis.label.get_window_extent()
    assert extent.y0 >= 0
    assert extent.y1 <= drawing.bbox.y1


def test_marks_at_the_ends_of_an_axis_are_not_cut_off_and_long_labels_are_slanted():
    hull = Figure("H", "x", "E (eV)", [Series("hull", (0.0, 1.0), (0.0, 0.0))], x_range=(0.0, 1.0))
    low, high = draw_figure(hull).axes[0].get_xlim()
    assert low < 0.0
    assert high > 1.0
    names = [(k, f"Sr(Mg,W){k}O3 and more") for k in range(3)]
    crowded = Figure("H", "Crystal", "E (eV)", [Series("", (0, 1, 2), (0, 0, 1))], ticks=names)
    labels = draw_figure(crowded).axes[0].get_xticklabels()
    assert {label.get_rotation() for label in labels} == {40.0}
