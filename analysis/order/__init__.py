"""How sites are occupied: short- and long-range order, scattering, domains, environments."""
