"""Free energies along alchemical paths: from works of switching and from equilibrium windows."""
