"""Settings of the whole test session."""

import os

import pytest

# Programs that tests start must import the installed package, not the folder they start in.
os.environ["PYTHONSAFEPATH"] = "1"


def pytest_configure(config):
    """Leave out a warning of spglib's about a setting that is its user's to make, not a library's.

    It comes with every call, of icet's, ASE's and ours, and had filled the logs of tests.
    """
    ignored = "ignore:Set OLD_ERROR_HANDLING to false:DeprecationWarning"
    config.addinivalue_line("filterwarnings", ignored)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """Recorded properties as text, which can be sent from one process to another."""
    report = yield
    report.user_properties = [(name, str(value)) for name, value in report.user_properties]
    return report
