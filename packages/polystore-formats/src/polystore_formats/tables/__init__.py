"""Tables: cells of text, and what their columns mean. CSV is in ``csv``."""
