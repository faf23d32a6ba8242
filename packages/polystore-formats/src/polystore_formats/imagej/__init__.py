"""ImageJ ROIs as the bytes of one file (``roi``), and as formats (``format``)."""
