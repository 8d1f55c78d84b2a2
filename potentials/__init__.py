"""alchemc.potentials."""
