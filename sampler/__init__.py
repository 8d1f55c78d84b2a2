"""alchemc.sampler."""
