"""Settings of the whole test session."""

import os

import pytest

# Programs that tests start must import the installed package, not the folder they start in.
os.environ["PYTHONSAFEPATH"] = "1"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """Recorded properties as text, which can be sent from one process to another."""
    report = yield
    report.user_properties = [(name, str(value)) for name, value in report.user_properties]
    return report
