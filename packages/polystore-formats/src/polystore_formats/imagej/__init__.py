"""ImageJ ROIs: the bytes of one file (``roi``), and the formats (``format``)."""
