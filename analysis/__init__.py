"""alchemc.analysis."""
