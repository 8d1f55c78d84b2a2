"""Settings of the whole test session."""

import os

# Programs that tests start must import the installed package, not the folder they start in.
os.environ["PYTHONSAFEPATH"] = "1"
