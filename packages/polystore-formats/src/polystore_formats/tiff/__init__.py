"""TIFF: images and stacks, with the metadata of ImageJ and OME. Its format is in ``format``."""
