"""Which phases are stable: free energies, phase diagrams, transitions, ground states."""
