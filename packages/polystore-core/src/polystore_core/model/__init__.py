"""Arrays of any framework, conversions, comparisons, and the names of files."""
