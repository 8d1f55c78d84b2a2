"""alchemc.ensembles."""
