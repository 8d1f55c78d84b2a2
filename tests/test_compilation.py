"""Where compiled kernels are kept, and what keeps a stale one from being used."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import alchemc.potentials
from alchemc.potentials import compilation

PACKAGE = Path(alchemc.potentials.__file__).parent
VARIABLES = ("ALCHEMC_CACHE", "XDG_CACHE_HOME", "LOCALAPPDATA")

ENERGY = """
import numpy as np
from alchemc import PairHamiltonian, builders
lattice = builders.perovskite("Pb", ("Sc", "Ta"), "O", a=4.0, size=(2, 2, 2))
hamiltonian = PairHamiltonian(lattice, [np.array([[1.0, -1.0], [-1.0, 1.0]])])
print(float(hamiltonian.energy(np.zeros(8, int))))
from alchemc.potentials import compiled
print(sum(compiled.fill.stats.cache_hits.values()))
"""


@pytest.fixture
def no_variables(monkeypatch):
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def sources(tmp_path, monkeypatch):
    """A copy of the kernel sources in place of the package."""
    for name in compilation.SOURCES:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(PACKAGE / name, tmp_path / name)
    monkeypatch.setattr(compilation.resources, "files", lambda package: tmp_path)
    return tmp_path


def twice(x):
    return 2 * x


def in_the_tree():
    """Compiled files beside the sources of the package and of the tests."""
    roots = [PACKAGE, Path(alchemc.__file__).parent, Path(__file__).parent]
    return {path for root in roots for path in root.rglob("*.nb[ic]")}


def energy_in_a_new_process(**variables):
    """Energy, and how many kernels came from the cache."""
    kept = {k: v for k, v in os.environ.items() if k not in VARIABLES}
    done = subprocess.run(
        [sys.executable, "-c", ENERGY],
        env=kept | variables, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stderr == ""
    energy, hits = done.stdout.split()
    return float(energy), int(hits)


@pytest.mark.parametrize("name", compilation.SOURCES)
def test_a_change_of_any_kernel_source_starts_an_empty_cache(name, sources):
    before = compilation.cache_folder()
    assert compilation.cache_folder() == before
    (sources / name).write_text((sources / name).read_text() + "\n# changed\n")
    assert compilation.cache_folder() != before
    assert compilation.cache_folder().parent == before.parent


def test_another_version_of_numba_starts_an_empty_cache(monkeypatch):
    before = compilation.source_hash()
    monkeypatch.setattr(compilation.numba, "__version__", "0.0")
    assert compilation.source_hash() != before


def test_every_file_with_kernels_enters_the_hash():
    decorated = re.compile(
        r"^@(compiled|compiled_fused|inlined|intrinsic|(numba\.)?njit)\b", re.MULTILINE
    )
    files = {
        path.relative_to(PACKAGE).as_posix()
        for path in PACKAGE.rglob("*.py")
        if decorated.search(path.read_text("utf-8"))
    }
    assert files == set(compilation.SOURCES)


@pytest.mark.parametrize("name", sorted(set(compilation.SOURCES) - {"compilation.py"}))
def test_kernels_call_compiled_functions_of_hashed_files_alone(name):
    source = (PACKAGE / name).read_text("utf-8")
    imports = re.findall(r"^(?:from|import) (\S+)", source, re.MULTILINE)
    hashed = {".compilation", "..compilation", ".compiled"}
    assert set(imports) <= {"__future__", "math", "numpy", *hashed}


def test_the_cache_lies_where_the_user_says(monkeypatch, no_variables, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert compilation.cache_folder().parent == tmp_path / "xdg" / "alchemc"
    monkeypatch.setenv("ALCHEMC_CACHE", str(tmp_path / "own"))
    assert compilation.cache_folder().parent == tmp_path / "own"


def test_the_cache_lies_in_the_users_cache_folder_by_default(monkeypatch, no_variables, tmp_path):
    monkeypatch.setattr(compilation.Path, "home", lambda: tmp_path)
    assert compilation.cache_folder().parent == tmp_path / ".cache" / "alchemc"


def test_compiled_functions_are_kept_in_that_folder(monkeypatch, no_variables, tmp_path):
    monkeypatch.setenv("ALCHEMC_CACHE", str(tmp_path / "own"))
    before = in_the_tree()
    assert compilation.compiled(twice)(3) == 6
    kept = list((tmp_path / "own").rglob("*.nbc"))
    assert [path.name.split("-")[0] for path in kept] == ["test_compilation.twice"]
    assert kept[0].is_relative_to(compilation.cache_folder())
    again = compilation.compiled(twice)
    assert again(3) == 6
    assert sum(again.stats.cache_hits.values()) == 1
    assert in_the_tree() == before


def no_folder(tmp_path):
    (tmp_path / "file").write_text("")
    return str(tmp_path / "file" / "cache")


def test_where_the_cache_cannot_be_written_functions_are_compiled_all_the_same(
    monkeypatch, no_variables, tmp_path
):
    monkeypatch.setenv("ALCHEMC_CACHE", no_folder(tmp_path))
    before = in_the_tree()
    function = compilation.compiled(twice)
    assert function(3) == 6
    assert sum(function.stats.cache_hits.values()) == 0
    assert in_the_tree() == before


def test_a_user_without_a_home_can_compile(monkeypatch, no_variables):
    def none():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(compilation.Path, "home", none)
    assert compilation.compiled(twice)(3) == 6


def test_energies_come_from_the_cache_in_the_next_process(tmp_path):
    before = in_the_tree()
    first = energy_in_a_new_process(ALCHEMC_CACHE=str(tmp_path))
    second = energy_in_a_new_process(ALCHEMC_CACHE=str(tmp_path))
    without = energy_in_a_new_process(ALCHEMC_CACHE=no_folder(tmp_path))
    assert [first, second, without] == [(24.0, 0), (24.0, 1), (24.0, 0)]
    assert in_the_tree() == before


def test_help_and_imports_load_no_compiler():
    code = (
        "import sys, alchemc, alchemc.sampler, alchemc.ensembles, alchemc.potentials; "
        "from alchemc.cli import main; main(['--help']); assert 'numba' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
