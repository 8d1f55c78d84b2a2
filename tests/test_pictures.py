"""Figures for papers, pictures of structures and animations: what is in them and in their files."""

import itertools
import re
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest
from PIL import Image

from alchemc import builders
from alchemc.analysis import analyze_run, plots
from alchemc.analysis.plots.structure import scene_of, species_colours
from alchemc.analysis.plots.style import COLOURS, MARKERS
from alchemc.campaign.export import export_run
from alchemc.campaign.report_figures import draw_figure, write_figures
from alchemc.campaign.report_parts import Figure, Section, Series
from alchemc.errors import InputError
from alchemc.records import Run
from analysis_cases import exact_run, perovskite


@pytest.fixture(scope="module")
def run() -> Run:
    return exact_run((600.0, 900.0, 1500.0), n_draws=400)[0]


@pytest.fixture(scope="module")
def results(run) -> dict:
    return analyze_run(run)


def grey(colour: str) -> float:
    red, green, blue = (int(colour[k : k + 2], 16) for k in (1, 3, 5))
    return 0.299 * red + 0.587 * green + 0.114 * blue


@pytest.mark.parametrize(
    ("plot", "x", "y"),
    [
        (plots.plot_order, "Temperature (K)", "psi"),
        (plots.plot_binder, "Temperature (K)", "Binder cumulant"),
        (plots.plot_energy, "Temperature (K)", "meV per site"),
        (plots.plot_heat_capacity, "Temperature (K)", "per site"),
        (plots.plot_warren_cowley, "Distance (Å)", "Warren–Cowley α, B: Sc–Ta"),
    ],
)
def test_every_figure_of_a_run_is_labelled_and_marked(results, plot, x, y):
    figure = plot(results)
    (axes,) = figure.axes
    assert axes.get_xlabel() == x
    assert y in axes.get_ylabel()
    assert figure.get_size_inches()[0] == pytest.approx(3.4)
    named = [line for line in axes.get_lines() if not line.get_label().startswith("_")]
    marks = [line.get_marker() for line in named]
    assert len(set(marks)) == len(marks)  # told apart without colour
    given = plot(results, axes=axes)
    assert given is figure


def test_points_that_did_not_converge_are_open(results):
    points = [dict(point) for point in results["points"]]
    points[1] = points[1] | {"energy": points[1]["energy"] | {"converged": False}}
    (axes,) = plots.plot_energy({**results, "points": points}).axes
    faces = {
        line.get_markerfacecolor(): len(line.get_xdata())
        for line in axes.get_lines()
        if line.get_marker() == "o" and len(line.get_xdata())
    }
    assert faces == {COLOURS[0]: 2, "white": 1}


def test_what_a_run_does_not_hold_is_not_drawn(results):
    with pytest.raises(InputError, match="'B: Sc–Nb'"):
        plots.plot_warren_cowley(results, "B: Sc–Nb")
    points = [point | {"acceptance": None} for point in results["points"]]
    with pytest.raises(InputError, match="does not know how many"):
        plots.plot_acceptance({**results, "points": points})
    with pytest.raises(InputError, match=r"give \[n_draws, n_chains\]"):
        plots.plot_series(np.zeros(5), "Energy (eV)")


def test_chains_of_a_series_are_told_apart():
    figure = plots.plot_series(np.zeros((20, 9)), "Energy (eV)")
    lines = figure.axes[0].get_lines()
    assert len({(line.get_color(), line.get_linestyle()) for line in lines}) == 9


# ---- structures


def test_a_structure_shows_every_atom_once_and_those_on_faces_on_both():
    lattice = perovskite(2, 2, 2)
    occupation = np.array([0, 1, 1, 0, 1, 0, 0, 1])
    counts = Counter(scene_of(lattice, occupation).names)
    assert counts["Sc"] == counts["Ta"] == 4
    assert counts["Sr "] == 27  # corners of 2×2×2 cells
    assert counts["O "] == 3 * 4 * 3  # of every direction, on three planes of two by two
    assert "O " not in scene_of(lattice, occupation, hide=("O",)).names


def test_vacancies_are_not_drawn_and_a_spectator_keeps_its_own_colour():
    lattice = perovskite(2, 2, 2, species=("Sr", "X"))
    scene = scene_of(lattice, np.array([0, 1] * 4))
    assert Counter(scene.names)["Sr"] == 4
    assert "X" not in scene.names
    colours = species_colours(lattice)
    assert colours["Sr"] != colours["Sr "]


def test_near_atoms_are_larger_and_drawn_last():
    lattice = builders.rocksalt(("Mg", "Ca"), "O", a=4.2, size=(2, 2, 2))
    scene = scene_of(lattice, np.zeros(lattice.n_sites, int))
    radii = scene.radii[[name == "Mg" for name in scene.names]]
    assert (np.diff(radii) >= -1e-12).all()
    assert radii[-1] > 1.2 * radii[0]


def test_a_turn_by_a_symmetry_of_the_cube_gives_the_same_picture():
    lattice = perovskite(2, 2, 2)
    occupation = np.zeros(8, int)
    one, other = (scene_of(lattice, occupation, turn=turn) for turn in (10.0, 100.0))
    assert np.allclose(*(s.places[np.lexsort(s.places.round(6).T)] for s in (one, other)))
    third = scene_of(lattice, occupation, turn=30.0)
    assert not np.allclose(np.sort(one.places[:, 0]), np.sort(third.places[:, 0]))


def test_sampled_positions_are_drawn_without_the_drift_of_the_crystal():
    lattice = perovskite(2, 2, 2)
    occupation = np.array([0, 1] * 4)
    still = scene_of(lattice, occupation)
    drifted = scene_of(lattice, occupation, lattice.atoms.positions + np.array([5.0, -3.0, 11.0]))
    assert np.allclose(drifted.places, still.places)
    moved = lattice.atoms.positions.copy()
    moved[lattice.sites[0]] += 0.4
    assert not np.allclose(scene_of(lattice, occupation, moved).places, still.places)


def test_species_differ_in_colour_and_without_it():
    lattice = perovskite(2, 2, 2, species=("Sc", "Ta", "Nb", "Ti", "Zr", "Hf"))
    styles = [style for name, style in species_colours(lattice).items() if not name.endswith(" ")]
    assert len({colour for colour, _ in styles}) == len(styles)
    for (one, first), (other, second) in itertools.combinations(styles, 2):
        assert first != second or abs(grey(one) - grey(other)) > 30


def test_a_configuration_of_another_lattice_is_refused():
    with pytest.raises(InputError, match=r"give one configuration, \[8\]"):
        plots.plot_structure(perovskite(2, 2, 2), np.zeros(9, int))


# ---- animations


def test_an_animation_shows_the_draws_in_order():
    lattice = perovskite(2, 2, 2)
    frames = [plots.Frame(np.roll([0, 1] * 4, k // 2), f"draw {k}") for k in range(4)]
    pictures = list(plots.ordering_frames(lattice, frames, [0.0, 1.0, 0.5, 0.2], "Energy (eV)"))
    assert {picture.shape for picture in pictures} == {(360, 640, 3)}
    crystal = [picture[40:, :300] for picture in pictures]
    assert (crystal[0] == crystal[1]).all()
    assert (crystal[1] != crystal[2]).any()
    assert (pictures[0] != pictures[1]).any()  # the dot has moved


def test_a_chain_becomes_a_gif(run, tmp_path):
    path = tmp_path / "run.gif"
    assert export_run(run, path, chain=1, every=150) == 9
    with Image.open(path) as picture:
        assert picture.n_frames == 9
        assert picture.info["duration"] == 100
        assert picture.info["loop"] == 0
        assert picture.size == (640, 360)
    assert [p.name for p in tmp_path.iterdir()] == ["run.gif"]


def test_a_gif_of_a_long_run_is_thinned_unless_it_is_told_how(run, tmp_path, monkeypatch):
    lattice, point = run.lattice, run.points[0]
    monkeypatch.setattr("alchemc.campaign.pictures.USUAL_FRAMES", 8)
    assert export_run(Run((point,), lattice), tmp_path / "a.gif", chain=0) == 8
    many = Run((point,) * 6, lattice)
    with pytest.raises(InputError, match=r"2,400 frames .* --every 2"):
        export_run(many, tmp_path / "b.gif", chain=0, every=1)
    assert not (tmp_path / "b.gif").exists()


@pytest.mark.parametrize("suffix", ["pdf", "svg", "png"])
def test_one_configuration_becomes_a_picture(run, suffix, tmp_path):
    path = tmp_path / f"one.{suffix}"
    assert export_run(run, path, point=0, chain=0, draw=3) == 1
    assert path.stat().st_size > 2000
    again = tmp_path / f"again.{suffix}"
    export_run(run, again, point=0, chain=0, draw=3)
    assert path.read_bytes() == again.read_bytes()  # no date, no random names


def test_pictures_ask_for_one_chain_one_point_and_a_draw_that_exists(run, tmp_path):
    with pytest.raises(InputError, match="--chain"):
        export_run(run, tmp_path / "a.gif")
    with pytest.raises(InputError, match="--point"):
        export_run(run, tmp_path / "a.pdf", chain=0)
    with pytest.raises(InputError, match="draws 0 to 399"):
        export_run(run, tmp_path / "a.pdf", chain=0, point=0, draw=400)
    with pytest.raises(InputError, match="draw"):
        export_run(run, tmp_path / "a.extxyz", chain=0, point=0, draw=4)
    with pytest.raises(InputError, match="every"):
        export_run(run, tmp_path / "a.pdf", chain=0, point=0, every=4)


# ---- figures of a report


def section() -> Section:
    series = [
        Series(
            f"$x$ {k}",
            (1.0, 2.0, 3.0),
            (k, None, k + 1.0),
            (0.1, None, 0.2),
            converged=(True, True, False),
        )
        for k in range(3)
    ]
    area = Series("gap", (1.0, 2.0, 3.0, 1.0), (0.0, 1.0, 0.0, 0.0), area=True)
    chart = Figure(
        "Map", "h", "k", values=[[1.0, None], [2.0, 3.0]], map_x=(0, 1), map_y=(0, 1), map_label="I"
    )
    return Section(
        "Some",
        figures=[Figure("C of T", "T (K)", "C (k_B)", [*series, area], bands=[(1, 2)]), chart],
    )


def test_figures_of_sections_are_drawn_with_marks_and_verdicts():
    (axes,) = draw_figure(section().figures[0]).axes
    assert axes.get_ylabel() == r"C ($k_\mathrm{B}$)"
    texts = [text.get_text() for text in axes.get_legend().get_texts()]
    assert texts == [r"\$x\$ 0", r"\$x\$ 1", r"\$x\$ 2", "gap"]
    marks = [line.get_marker() for line in axes.get_lines() if not line.get_label().startswith("_")]
    assert marks == list(MARKERS[:3])
    empty = [line for line in axes.get_lines() if line.get_markerfacecolor() == "white"]
    assert sum(len(line.get_xdata()) for line in empty) == 3
    chart = draw_figure(section().figures[1])
    assert chart.axes[1].get_ylabel() == "I"


def test_a_run_and_its_sections_become_files(run, tmp_path):
    names = write_figures([run], tmp_path, "svg", [section()])
    assert {
        "order.svg",
        "energy.svg",
        "heat-capacity.svg",
        "structure.svg",
        "some-c-of-t.svg",
        "some-map.svg",
    } <= set(names)
    assert sorted(names) == sorted(path.name for path in tmp_path.iterdir())
    text = (tmp_path / "order.svg").read_text()
    assert ">Temperature (K)<" in re.sub(r"\s*<", "<", text)  # text is text
    before = (tmp_path / "order.svg").read_bytes()
    write_figures([run], tmp_path, "svg")
    assert (tmp_path / "order.svg").read_bytes() == before


def test_several_runs_become_joint_figures(run, tmp_path):
    names = write_figures([run, exact_run((700.0, 1000.0), n_draws=100)[0]], tmp_path)
    assert "side-by-side-order-rock-salt.pdf" in names
    assert "order.pdf" not in names
    assert (tmp_path / names[0]).read_bytes().startswith(b"%PDF")


def test_figures_of_no_known_kind_or_into_a_file_are_refused(run, tmp_path):
    with pytest.raises(InputError, match="use one of pdf, svg, png"):
        write_figures([run], tmp_path, "eps")
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="is a file"):
        write_figures([run], tmp_path / "file")


def test_drawing_needs_no_display_and_leaves_no_figure_open():
    code = "import sys; import alchemc.analysis.plots; sys.exit('matplotlib.pyplot' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
