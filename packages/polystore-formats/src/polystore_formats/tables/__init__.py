"""Tables: cells of text, and the meaning of their columns. CSV is in ``csv``."""
