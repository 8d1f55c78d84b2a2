"""Every example in a docstring of the installed package runs."""

import doctest
import importlib
import pkgutil

import pytest

import alchemc

LEAST = {"alchemc": 8, "analysis": 5, "campaign": 1, "ensembles": 1, "potentials": 2, "sampler": 3}


def module_names():
    names = [m.name for m in pkgutil.walk_packages(alchemc.__path__, "alchemc.")]
    return ["alchemc", *(n for n in names if not n.endswith("__main__"))]


def examples(name):
    module = importlib.import_module(name)
    return [t for t in doctest.DocTestFinder(exclude_empty=True).find(module) if t.examples]


@pytest.mark.parametrize("name", module_names())
def test_docstring_examples_run(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    runner = doctest.DocTestRunner(optionflags=flags)
    for test in examples(name):
        runner.run(test)
    assert runner.failures == 0


def test_every_folder_has_its_least_number_of_examples():
    found = dict.fromkeys(LEAST, 0)
    for name in module_names():
        parts = name.split(".")
        folder = parts[1] if len(parts) > 1 and parts[1] in LEAST else "alchemc"
        found[folder] += len(examples(name))
    assert all(found[f] >= n for f, n in LEAST.items()), found
