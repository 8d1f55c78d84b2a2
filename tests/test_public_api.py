"""The public names are written down; a change of theirs is a decision, not an accident."""

import importlib
import json
from pathlib import Path

SNAPSHOT = Path(__file__).parent / "data" / "public_api.json"
PACKAGES = (
    "alchemc",
    "alchemc.analysis",
    "alchemc.builders",
    "alchemc.campaign",
    "alchemc.ensembles",
    "alchemc.errors",
    "alchemc.lattice",
    "alchemc.potentials",
    "alchemc.protocols",
    "alchemc.records",
    "alchemc.sampler",
    "alchemc.statistics",
)


def public_names():
    return {name: sorted(importlib.import_module(name).__all__) for name in PACKAGES}


def test_public_names_are_those_of_the_snapshot():
    assert public_names() == json.loads(SNAPSHOT.read_text())


def test_every_public_name_exists_and_has_a_docstring():
    for package, names in public_names().items():
        module = importlib.import_module(package)
        for name in names:
            value = getattr(module, name)
            if callable(value):
                assert value.__doc__, f"{package}.{name}"


def test_no_lazy_name_is_that_of_a_module_beside_it():
    """Importing such a module would put it in the place of the name."""
    for package in ("alchemc", "alchemc.analysis"):
        module = importlib.import_module(package)
        files = {path.stem for path in Path(module.__path__[0]).glob("*.py")}
        subpackages = set(getattr(module, "_SUBPACKAGES", ()))
        assert not (set(module.__all__) - subpackages) & files
