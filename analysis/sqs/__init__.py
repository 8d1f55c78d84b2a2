"""Special quasirandom structures, and how they compare with what was sampled."""
