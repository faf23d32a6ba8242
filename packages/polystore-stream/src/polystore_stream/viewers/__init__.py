"""Rules that all viewers share: layers, looks, pacing, and queries."""
