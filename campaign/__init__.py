"""alchemc.campaign."""
