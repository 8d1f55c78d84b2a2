"""The report: complete in one file, honest about what did not converge, and alive in a browser."""

import json
import re
from html.parser import HTMLParser
from importlib import resources

import numpy as np
import pytest

from alchemc import Lattice, Sublattice, builders
from alchemc.analysis import analyze_run
from alchemc.campaign.numbers import compact
from alchemc.campaign.report import report_page, write_report
from alchemc.campaign.report_worth import evaluation_tables
from alchemc.records import Run, point_dataset
from analysis_cases import exact_run, perovskite
from campaign_tools import CHROMIUM, browse

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

PROBE = """
<script>
(() => {
  const found = { errors: [], violations: [] };
  addEventListener("error", (e) => found.errors.push(String(e.message)));
  document.addEventListener("securitypolicyviolation", (e) => found.violations.push(e.blockedURI));
  const painted = (canvas) => canvas.getContext("2d")
    .getImageData(0, 0, canvas.width, canvas.height).data.reduce((sum, x) => sum + x, 0);
  const choose = (id, index) => {
    const select = document.getElementById(id);
    select.selectedIndex = index;
    select.dispatchEvent(new Event("change"));
  };
  const lines = (id) => document.querySelectorAll(`#${id} .scatterlayer .trace`).length;
  setTimeout(() => {
    const canvas = document.getElementById("structure");
    found.plots = document.querySelectorAll(".plot .main-svg").length;
    const plots = [...document.querySelectorAll(".plot")];
    found.unplotted = plots.filter((p) => !p.querySelector(".trace")).length;
    found.requests = performance.getEntriesByType("resource").map((entry) => entry.name);
    found.structure = painted(canvas);
    const last = JSON.parse(document.getElementById("data").textContent).structure.occupations;
    choose("structure-temperature", last.findIndex((one) => one.join() !== last[0].join()));
    found.other_structure = painted(canvas);
    document.querySelector("[data-species]").click();
    found.fewer_atoms = painted(canvas);
    document.getElementById("zoom-in").click();
    found.zoomed = painted(canvas);
    canvas.dispatchEvent(new KeyboardEvent("keydown", { key: "ArrowLeft" }));
    found.turned = painted(canvas);
    const before = document.getElementById("plot-traces").data[0].y.join();
    choose("trace-quantity", 1);
    found.trace_changed = document.getElementById("plot-traces").data[0].y.join() !== before;
    choose("shell-pair", 1);
    found.shells = lines("plot-shells");
    found.buttons = [...document.querySelectorAll(".modebar-btn")].map((b) => b.dataset.title);
    found.overflow = document.documentElement.scrollWidth - document.documentElement.clientWidth;
    const main = document.querySelector("main");
    main.style.width = "360px"; // as when a phone is turned, before the plots follow
    found.narrowed = main.scrollWidth - main.clientWidth;
    main.style.width = "";
    found.ticks = [...document.querySelectorAll("#plot-order .xtick")].map((t) => t.textContent);
    const result = document.createElement("pre");
    result.id = "probe";
    result.textContent = JSON.stringify(found);
    document.body.append(result);
  }, 1500);
})();
</script>
"""


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
    row = next(r for r in re.findall(r"(?s)<tr>.*?</tr>", page) if ">3,200 K<" in r)
    assert 'class="bad"' in row
    assert "✗ no" in row
    assert "R-hat" in row
    good = next(r for r in re.findall(r"(?s)<tr>.*?</tr>", page) if ">5,000 K<" in r)
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
    data = json.loads(re.search(r'(?s)id="data">(.*?)</script>', page).group(1))
    assert data["results"] == results
    assert len(data["structure"]["occupations"]) == len(TEMPERATURES)
    assert all(len(chain) <= 400 for chain in data["traces"][0]["series"]["energy"])


def test_the_picture_shows_an_atom_on_a_face_on_the_far_face_too(page):
    data = json.loads(re.search(r'(?s)id="data">(.*?)</script>', page).group(1))
    strontium = [p for s, p in data["structure"]["spectators"] if s == "Sr"]
    assert len(strontium) == 27  # 2×2×2 cells: corners of a 3×3×3 grid
    assert len(data["structure"]["sites"]) == 8


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


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium to open the report in")
@pytest.mark.parametrize("options", [("--window-size=1280,900",), ("--window-size=500,900",)])
def test_the_report_works_in_a_browser(page, tmp_path, options):
    path = tmp_path / "report.html"
    path.write_text(page.replace("</body>", PROBE + "</body>"), encoding="utf-8")
    done = browse(path, tmp_path, *options)
    found = json.loads(re.search(r'<pre id="probe">(.*?)</pre>', done.stdout).group(1))
    assert found["errors"] == found["violations"] == found["requests"] == []
    console = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    assert all("willReadFrequently" in line for line in console), console  # the probe's own
    assert found["unplotted"] == 0
    assert found["plots"] >= 6
    pictures = [
        found[k] for k in ("structure", "other_structure", "fewer_atoms", "zoomed", "turned")
    ]
    assert len(set(pictures)) == 5
    assert min(pictures) > 0
    assert found["trace_changed"]
    assert found["shells"] >= len(TEMPERATURES)
    assert found["overflow"] <= 0
    assert found["narrowed"] <= 0
    ticks = [tick for tick in found["ticks"] if tick]
    assert ticks
    assert all(re.fullmatch(r"\d+,000", tick) for tick in ticks), ticks
    assert bool(found["buttons"]) is ("1280" in options[0])
    assert not re.search("share|cloud|edit", str(found["buttons"]), re.IGNORECASE)


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
