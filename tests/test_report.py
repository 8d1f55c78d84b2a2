"""The report: complete in one file, honest about what did not converge, and alive in a browser."""

import base64
import json
import re
from html.parser import HTMLParser
from importlib import resources

import numpy as np
import pytest

from alchemc import Lattice, Sublattice, builders
from alchemc.analysis import analyze_run, diagnostics
from alchemc.campaign.findings import read_findings, readable_findings, store_finding
from alchemc.campaign.numbers import compact
from alchemc.campaign.report import report_page, write_report
from alchemc.campaign.report_diagnostics import diagnostics_sections, scattering_sections
from alchemc.campaign.report_findings import finding_section
from alchemc.campaign.report_html import section_html
from alchemc.campaign.report_parts import Figure, Section, Series, Table
from alchemc.campaign.report_sqs import sqs_section
from alchemc.campaign.report_structures import BUDGET, structure_data
from alchemc.campaign.report_worth import evaluation_tables
from alchemc.errors import InputError, StoredRunError
from alchemc.records import Run, point_dataset
from analysis_cases import exact_run, perovskite

CONFIG = {
    "title": "Sr(Sc,Ta)O3 <b>&amp; friends</b>",
    "structure": {"prototype": "perovskite", "B": ["Sc", "Ta"], "a": 4.0, "displacement": 0.0},
    "potential": {"kind": "mace", "model": "bundled", "head": None},
    "run": {"seed": 12345},
}
ATTRS = {
    "created": "2025-01-01T00:00:00Z",
    "finished": True,
    "model": {
        "name": "bundled",
        "sha256": "0123456789abcdef" * 4,
        "card": {
            "not_for": "molecules",
            "evaluation": {"swaps": {"Sr2ScTaO6": {"slope": 0.971}, "<i>": {"slope": 0.95}}},
            "training": {"steps": 4711},
        },
    },
    "versions": {"alchemc": "0.1.0", "python": "3.11.2"},
}
# Hot enough to be called above melting: the couplings of the exact run scaled up with temperature.
TEMPERATURES = (2400.0, 3200.0, 4000.0, 5000.0, 6500.0, 9000.0)


class Elements(HTMLParser):
    """Start tags with their attributes, and the text of style elements."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict]] = []
        self.styles: list[str] = []
        self._open = ""
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self._open = tag

    def handle_data(self, data):
        if self._open == "style":
            self.styles.append(data)


@pytest.fixture(scope="module")
def run() -> Run:
    """A sweep in which one temperature's chains are stuck apart."""
    slow = tuple(t / 4 for t in TEMPERATURES)
    cool, states, energies = exact_run(slow, n_draws=1200, config=CONFIG, attrs=ATTRS)
    points = [p.assign_coords(temperature=4 * float(p["temperature"])) for p in cool.points]
    stuck = points[1].copy(deep=True)
    stuck["occupation"][:, 0] = states[energies.argmax()]
    stuck["energy"][:, 0] = energies.max()
    points[1] = stuck
    return Run(tuple(points), cool.lattice, CONFIG, ATTRS)


@pytest.fixture(scope="module")
def results(run) -> dict:
    return analyze_run(run)


@pytest.fixture(scope="module")
def page(run, results) -> str:
    return report_page(run, results)


def visible(page: str) -> str:
    """The page without plotly, which is not ours to test."""
    return "".join(part for part in re.split(r"(?s)<script>.*?</script>", page))


def embedded(page: str) -> dict:
    """Data that the page's scripts read."""
    return json.loads(re.search(r'(?s)id="data">(.*?)</script>', page).group(1))


def test_nothing_is_loaded_from_elsewhere(page):
    elements = Elements(page)
    loading = {"src", "href", "srcset", "data", "poster", "action", "formaction", "background"}
    for tag, attributes in elements.tags:
        for name in loading & set(attributes):
            assert attributes[name].startswith(("data:", "#")), (tag, name, attributes[name])
    assert not re.search(r"@import|url\(", "".join(elements.styles))
    policy = next(a["content"] for t, a in elements.tags if a.get("http-equiv"))
    assert policy.startswith("default-src 'none'")
    assert "http" not in policy


def test_the_plotting_library_stands_in_the_page_once(page):
    assert page.count("plotly.js v") == 1
    assert len(page) < 8e6


def test_the_first_line_warns_of_a_temperature_above_melting(page):
    body = page[page.index("<body>") :]
    first = re.sub("<[^>]+>", "", body).strip().splitlines()[0]
    assert "above 2,500 K: above melting" in first
    assert "ideal positions, fixed cell" in first


def test_every_caveat_is_in_the_page(results, page):
    text = visible(page)
    caveats = results["caveats"]
    assert {"above-melting", "unconverged", "landscape", "one-size", "coulomb"} <= {
        c["code"] for c in caveats
    }
    for caveat in caveats:
        assert caveat["text"] in text, caveat


def test_what_did_not_converge_is_red_and_says_why(page):
    table = page.partition('<h2 id="table-title">')[2]
    row = next(r for r in re.findall(r"(?s)<tr>.*?</tr>", table) if ">3,200 K<" in r)
    assert 'class="bad"' in row
    assert "✗ no" in row
    assert "R-hat" in row
    good = next(r for r in re.findall(r"(?s)<tr>.*?</tr>", table) if ">5,000 K<" in r)
    assert "✓ yes" in good
    assert re.search(r"\.bad \{ color: var\(--red\)", page)


def test_input_provenance_and_model_are_shown(page):
    text = visible(page)
    for wanted in (
        "12345",
        "0123456789abcdef" * 4,
        "3.11.2",
        "not for",
        "molecules",
        "0.971",
        "4711",
    ):
        assert wanted in text, wanted
    assert "seed = 12345" in text
    assert "B = [&quot;Sc&quot;, &quot;Ta&quot;]" in text


def test_text_of_the_user_cannot_become_markup(page):
    assert "<b>&amp; friends</b>" not in page
    assert "&lt;b&gt;&amp;amp; friends&lt;/b&gt;" in page


def test_embedded_data_is_the_analysis(results, page):
    data = embedded(page)
    assert data["results"] == results
    assert len(data["structure"]["points"]) == len(TEMPERATURES)
    assert all(len(chain) <= 400 for chain in data["traces"][0]["series"]["energy"])


def test_the_picture_shows_an_atom_on_a_face_on_the_far_face_too(page):
    structure = embedded(page)["structure"]
    symbol = dict(zip(structure["spectators"], structure["symbols"], strict=True))
    drawn = [symbol.get(atom, "site") for atom, *_ in structure["images"]]
    assert drawn.count("Sr") == 27  # 2×2×2 cells: corners of a 3×3×3 grid
    assert drawn.count("site") == 8


def test_a_report_is_replaced_in_one_step(run, results, tmp_path):
    path = tmp_path / "report.html"
    path.write_text("old")
    assert write_report(run, path, results) == path
    assert path.read_text(encoding="utf-8").startswith("<!doctype html>")
    assert [p.name for p in tmp_path.iterdir()] == ["report.html"]


def test_names_and_units_keep_their_capitals(run):
    config = {**CONFIG, "structure": {**CONFIG["structure"], "displacement": 0.05}}
    page = report_page(Run(run.points, run.lattice, config, ATTRS))
    lede = re.search(r'<p class="lede">(.*?)</p>', page).group(1)
    assert "Fixed positions displaced by 0.05 Å (per Cartesian component)" in lede
    lattice = builders.perovskite("Sr", ("Sc", "Ta"), "O", a=4.0, size=(2, 2, 2))
    sites = {"TM": lattice.sublattices["B"]}
    two = Lattice(lattice.atoms, sites | {"Sr": Sublattice(sites="Sr", species=("Sr", "Ba"))})
    rng = np.random.default_rng(0)
    half = {"TM": {"Sc": 0.5, "Ta": 0.5}, "Sr": {"Sr": 0.5, "Ba": 0.5}}
    arrays = {
        "occupation": two.random(half, rng, 20).reshape(10, 2, 16),
        "energy": rng.normal(size=(10, 2)),
    }
    text = visible(report_page(Run((point_dataset(arrays, {"temperature": 416.66}),), two)))
    assert ">TM rock-salt<small>" in text
    assert "Tm rock-salt" not in text
    assert ">416.66 K<" in text


def test_the_card_says_that_only_measured_orders_are_not_seen():
    run, _, _ = exact_run((30000.0, 60000.0), n_draws=400)
    text = visible(report_page(run))
    card = re.search(r"Apparent ordering temperature</p>(.*?)</div>", text).group(1)
    assert "no order seen" in card
    assert "of those measured" in card
    assert "rock-salt;" not in card


def test_errors_are_written_alike_in_the_report_and_on_the_terminal():
    assert compact({"mean": -0.5, "error": 0.0996}) == "-0.50(10)"
    assert compact({"mean": 120.0, "error": 12.4}) == "120(12)"
    assert compact({"mean": 0.75, "error": None}) == "0.7500(?)"


def test_a_single_temperature_in_memory_is_enough():
    run, _, _ = exact_run((1500.0,), n_draws=5)
    text = visible(report_page(run))
    assert "left no description" in text
    assert "made in Python" in text


def test_a_lattice_without_named_orders_and_with_vacancies_is_reported():
    lattice = builders.fluorite(("Ce", "Y"), "O", a=5.4, size=(1, 1, 1))
    rng = np.random.default_rng(0)
    half = {"cation": {"Ce": 0.5, "Y": 0.5}}
    arrays = {
        "occupation": lattice.random(half, rng, 20).reshape(10, 2, lattice.n_sites),
        "energy": rng.normal(size=(10, 2)),
    }
    page = report_page(Run((point_dataset(arrays, {"temperature": 900.0}),), lattice))
    assert 'id="plot-order"' not in page
    assert "simple cubic net" in page
    vacant = perovskite(2, 2, 2, species=("Sc", "X"))
    arrays["occupation"] = vacant.random({"B": {"Sc": 0.5, "X": 0.5}}, rng, 20).reshape(10, 2, 8)
    page = report_page(Run((point_dataset(arrays, {"temperature": 900.0}),), vacant))
    assert 'data-species="Sc"' in page
    assert 'data-species="X"' not in page


def test_the_worth_of_the_bundled_potential_stands_in_tables_with_units():
    document = json.loads(
        (resources.files("alchemc.potentials") / "models" / "bundled" / "model.json").read_text()
    )
    page = evaluation_tables(document["card"]["evaluation"])
    assert page.count("<table>") >= 2
    for heading in ("ordering (meV/atom)", "forces (meV/Å)", "relaxed, teacher (eV)"):
        assert f">{heading}</th>" in page
    assert '<th scope="row">Sr2MgWO6-70</th><td>100</td>' in page


def test_a_card_with_other_measures_leaves_a_dash():
    page = evaluation_tables({"test": {"swaps": {"<x>": {"slope": 1.0}}}})
    assert '<th scope="row">&lt;x&gt;</th><td>–</td><td>1.00</td>' in page


def unpacked(structure: dict, k: int, shape: tuple[int, int, int]) -> np.ndarray:
    """Occupations of a point [chain, frame, site] as the page's script reads them."""
    bits, size = structure["bits"], -(-shape[2] * structure["bits"] // 8)
    rows = np.frombuffer(base64.b64decode(structure["points"][k]["occupations"]), np.uint8)
    flags = np.unpackbits(rows.reshape(*shape[:2], size), axis=-1, bitorder="little")
    flags = flags[..., : shape[2] * bits].reshape(*shape, bits)
    return (flags << np.arange(bits)).sum(axis=-1)


@pytest.mark.parametrize(
    "species", [("Sc", "Ta"), ("Sc", "Ta", "Nb"), ("Sc", "Ta", "Nb", "Ti", "X")]
)
@pytest.mark.parametrize("frames", [None, 7, 1])
def test_the_structures_in_the_page_are_those_that_were_stored(species, frames):
    lattice = perovskite(3, 2, 2, species=species)
    rng = np.random.default_rng(5)
    occupation = rng.integers(0, len(species), (300, 2, lattice.n_sites)).astype(np.uint8)
    arrays = {"occupation": occupation, "energy": rng.normal(size=(300, 2))}
    points = tuple(point_dataset(arrays, {"temperature": t}) for t in (900.0, 700.0))
    structure = structure_data(Run(points, lattice), [points[1], points[0]], frames)
    assert structure["order"] == [1, 0]
    for k in (0, 1):
        draws = structure["points"][k]["draws"]
        assert draws[-1] == 299
        assert len(draws) == (frames or 200)
        found = unpacked(structure, k, (2, len(draws), lattice.n_sites))
        assert (found == occupation[draws].transpose(1, 0, 2)).all()


def test_a_long_run_of_a_large_cell_stays_within_the_budget():
    lattice = perovskite(8, 8, 8)
    occupation = np.zeros((60, 8, 512), np.uint8)
    arrays = {"occupation": occupation, "energy": np.zeros((60, 8))}
    points = [point_dataset(arrays, {"temperature": t}) for t in np.linspace(500, 900, 40)]
    structure = structure_data(Run(tuple(points), lattice), points)
    stored = sum(len(point["occupations"]) for point in structure["points"])
    assert stored <= BUDGET
    assert {len(point["energies"]) for point in structure["points"]} == {8}
    assert structure["points"][0]["draws"][-1] == 59
    assert not structure["every_draw"]


def test_sampled_positions_go_along_without_the_drift_of_the_crystal():
    lattice = perovskite(2, 2, 2)
    rng = np.random.default_rng(2)
    shift = rng.normal(scale=0.1, size=(4, 2, len(lattice.atoms), 3))
    shift -= shift.mean(axis=2, keepdims=True)
    cell = lattice.atoms.cell.array
    drift = np.array([30.0, -1.0, 3.0])
    arrays = {
        "occupation": np.zeros((4, 2, 8), np.uint8),
        "energy": np.zeros((4, 2)),
        "positions": lattice.atoms.positions + shift + drift,
        "cell": np.broadcast_to(cell, (4, 2, 3, 3)),
    }
    point = point_dataset(arrays, {"temperature": 900.0})
    structure = structure_data(Run((point,), lattice), [point])
    steps = np.frombuffer(base64.b64decode(structure["points"][0]["moved"]), "<i2")
    moved = steps.reshape(2, 4, -1, 3) / structure["steps"] @ cell
    resolution = cell[0, 0] / structure["steps"]
    assert np.abs(moved - shift.transpose(1, 0, 2, 3)).max() < resolution


# ---- sections from stored results


def section() -> Section:
    series = [
        Series("SQS <i>", (900.0, 1200.0), (0.5, -0.25), (0.1, None), converged=(True, False)),
        Series("", (900.0, 1200.0), (0.0, None), line="dot", points=False),
    ]
    figure = Figure("Bias", "Temperature (K)", "Energy (k_B per site)", series, "What <b> it is.")
    number = {"mean": -12.34, "error": 0.56, "converged": False, "why": 'R-hat "1.3"'}
    table = Table(("T (K)", "bias (meV)", "n"), [[900.0, number, 4], [1200.0, None, "few"]])
    caveats = ["Mind <this>.", {"level": "warning", "text": "Few draws."}]
    return Section("SQS & ensemble", "It is -12.3(6) meV off.", caveats, [figure], [table])


def test_a_section_becomes_text_figures_and_tables(run, results):
    text = visible(report_page(run, results, [section()]))
    assert '<section id="sqs-ensemble" aria-labelledby="sqs-ensemble-title">' in text
    assert '<a href="#sqs-ensemble-title">SQS &amp; ensemble</a>' in text
    assert "It is −12.3(6) meV off." in text
    assert '<li class="caveat warning">Few draws.</li>' in text
    assert "Mind &lt;this&gt;." in text
    assert '<td class="bad" title="R-hat &quot;1.3&quot;">−12.34(56)</td>' in text
    assert '<th scope="col">bias<small>meV</small></th>' in text
    assert "Plot of Energy (k_B per site) against Temperature (K): SQS &lt;i&gt;." in text
    assert text.count('data-figure="sqs-ensemble-0"') == 1
    assert "<b> it is" not in text
    data = embedded(report_page(run, results, [section()]))
    assert data["figures"]["sqs-ensemble-0"]["series"][0]["converged"] == [True, False]


def test_series_and_tables_that_do_not_fit_are_refused():
    with pytest.raises(InputError, match="error of the series 'a' has 1 values for 2"):
        Series("a", (1.0, 2.0), (1.0, 2.0), (0.1,))
    with pytest.raises(InputError, match="2 cells for 1"):
        Table(("a",), [["x", "y"]])
    with pytest.raises(InputError, match="one row per y"):
        Figure("a", "x", "y", values=[[1.0]], map_x=(1.0, 2.0), map_y=(1.0,))


def test_results_that_are_stored_beside_a_run_are_shown_and_their_age_is_told(tmp_path):
    data = {
        "statement": "The SQS lies 12.3(45) meV per site too high.",
        "caveats": ["Eight structures."],
        "by_temperature": [{"T (K)": 900, "bias (meV)": {"mean": 12.3, "error": 4.5}}],
        "internal": {"nested": [1, 2]},
    }
    path = store_finding(tmp_path, "sqs", data)
    assert path == tmp_path / "analysis" / "sqs.json"
    (found,) = read_findings(tmp_path)
    assert found.data == data
    shown = section_html(finding_section(found))
    assert "12.3(4.5)" in shown
    assert "Eight structures." in shown
    assert "gone on since" not in shown
    later = found._replace(draws=(100, 40))
    assert "gone on since" in section_html(finding_section(later, (100, 100)))
    assert "gone on since" not in section_html(finding_section(later, (100, 40)))


def test_a_section_of_ones_own_survives_the_disk(tmp_path):
    given = section()
    store_finding(tmp_path, "own-study", given.to_dict())
    (found,) = read_findings(tmp_path)
    back = finding_section(found)
    assert section_html(back).replace("own-study", "sqs-ensemble") == section_html(given)
    assert [f.to_dict() for f in back.figures] == [f.to_dict() for f in given.figures]


@pytest.mark.parametrize("data", [{"figures": 3, "tables": []}, {"figures": [{}], "tables": []}])
def test_what_looks_like_a_section_but_is_none_is_shown_by_its_statement(data, tmp_path):
    store_finding(tmp_path, "own-study", {"statement": "So it is.", "title": "T", **data})
    (found,) = read_findings(tmp_path)
    assert finding_section(found).sentences == ("So it is.",)


@pytest.mark.parametrize("subject", ["SQS", "a/b", "../x", "", "a_b"])
def test_a_subject_that_names_no_file_is_refused(subject, tmp_path):
    with pytest.raises(InputError, match="names no file"):
        store_finding(tmp_path, subject, {})


def test_a_result_that_json_cannot_hold_is_refused_and_nothing_is_written(tmp_path):
    for bad in (np.nan, np.zeros(2)):
        with pytest.raises(InputError, match="give plain numbers"):
            store_finding(tmp_path, "sqs", {"x": bad})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", '{"format": 99, "subject": "sqs", "stored": {"created": "", "draws": null}}'],
)
def test_a_damaged_result_is_refused_in_one_line(text, tmp_path):
    (tmp_path / "analysis").mkdir()
    (tmp_path / "analysis" / "sqs.json").write_text(text)
    with pytest.raises(StoredRunError, match=r"sqs\.json .*(is damaged|has format 99)"):
        read_findings(tmp_path)


@pytest.mark.parametrize(
    "text",
    [
        '{"subject": "sqs", "form',
        '{"subject": "sqs", "format": 99, "stored": {"created": "", "draws": null}}',
        '{"subject": "sqs", "format": 1, "stored": {"created": "", "draws": 3}}',
        '{"subject": "sqs", "format": 1, "stored": {"created": "", "draws": null}, "statement": 5}',
        '{"subject": "sqs", "format": 1, "stored": {"created": "", "draws": null}, "caveats": [1]}',
    ],
)
def test_a_damaged_result_is_told_in_its_section_and_all_else_is_shown(text, tmp_path):
    store_finding(tmp_path, "own-study", {"statement": "So it is."})
    store_finding(tmp_path, "sqs", {})
    (tmp_path / "analysis" / "sqs.json").write_text(text)
    own, damaged = map(finding_section, readable_findings(tmp_path))
    assert own.sentences == ("So it is.",)
    assert damaged.title == "Special quasirandom structures"
    (caveat,) = damaged.caveats
    assert re.search(r"sqs\.json (is|has|holds) .*: store it again .* or remove", caveat["text"])
    run, _, _ = exact_run((900.0,), n_draws=20)
    page = report_page(Run(run.points, run.lattice, attrs={"path": str(tmp_path)}))
    assert "So it is." in page
    assert "remove the file" in page


def test_figures_that_no_page_can_hold_leave_the_statement(tmp_path):
    figure = {"title": "F", "x": "x", "y": "y", "series": [], "bands": [[0.0, float("nan")]]}
    data = {"statement": "So it is.", "title": "T", "figures": [], "tables": []}
    path = store_finding(tmp_path, "own-study", data)
    content = json.loads(path.read_text()) | {"figures": [figure], "caveats": []}
    path.write_text(json.dumps(content))
    (found,) = readable_findings(tmp_path)
    section = finding_section(found)
    assert (section.sentences, section.figures) == (("So it is.",), ())


def test_diagnostics_of_every_point_and_quantity_are_those_of_the_analysis():
    run, _, _ = exact_run((900.0, 2400.0), n_draws=300)
    (section,) = diagnostics_sections(run, analyze_run(run))
    (table,) = section.tables
    found = diagnostics(run)
    rows = {(row[0], row[1]): dict(zip(table.columns, row, strict=True)) for row in table.rows}
    assert len(rows) == found["rhat"].size
    one = found.isel(point=1).sel(quantity="rock-salt")
    row = rows[one["label"].item(), "rock-salt"]
    assert row["R-hat"]["text"] == f"{float(one['rhat']):.3f}"
    assert row["R-hat"]["converged"] == bool(one["converged"])
    assert row["ESS (tail)"] == int(one["ess_tail"])
    assert row["τ (draws)"] == f"{float(one['autocorrelation_time']):.1f}"
    assert row["Unequilibrated (draws)"] == int(one["discard"])
    assert f"of {len(rows)} quantities have converged" in section.statement
    assert "<details><summary>Every point and quantity</summary>" in section_html(section)


def test_the_map_of_diffuse_scattering_peaks_where_the_order_is_and_leaves_bragg_peaks_out():
    run, _, _ = exact_run((900.0, 2400.0), n_draws=300)
    results = analyze_run(run)
    (section,) = scattering_sections(run, results)
    cold, hot = section.figures
    assert "900 K" in cold.title
    values = np.array(cold.values, dtype=float)
    assert np.isnan(values[0, 0])
    assert (cold.map_x[1], cold.map_y[1]) == (0.5, 0.5)
    assert values[1, 1] == np.nanmax(values)
    amplitude = results["points"][0]["orders"]["rock-salt"]["mean"]
    assert values[1, 1] == pytest.approx(8 * amplitude, rel=0.02)  # of 8 sites, from fewer draws
    assert np.array(hot.values, dtype=float)[1, 1] < values[1, 1]


def test_a_crystal_in_which_no_plane_fits_has_no_map():
    run, _, _ = exact_run((900.0,), n_draws=40)
    lone = Run(
        (run.points[0].isel(draw=slice(0, 1), site=slice(0, 8)),),
        Lattice(run.lattice.atoms, run.lattice.sublattices),
    )
    assert scattering_sections(lone, analyze_run(lone))  # one draw is enough for a map
    gone = run.points[0].isel(draw=slice(0, 0))
    empty = Run((gone,), run.lattice)
    assert diagnostics_sections(empty, {"points": [{"orders": {}}], "layout": {"free": []}}) == []


def test_long_statements_are_folded_and_caveats_not_said_twice():
    texts = [f"Sentence {k} " + "goes on and on " * 20 + "to its end." for k in range(7)]
    page = section_html(Section("T", texts, ["But."]))
    before, folded = page.split("<details><summary>More of it in words</summary>")
    assert (before.count("<p "), folded.count("<p ")) == (3, 4)
    few = {"statement": "It is off. One SQS.", "caveats": [{"text": "One SQS."}], "quantities": []}
    assert sqs_section(few).sentences == ("It is off.",)
