"""OME-NGFF documents, versions 0.5 and 0.4 (https://ngff.openmicroscopy.org).

Pure functions from attributes to attributes. They do not use a store.
"""

from .reading import read_image, read_labels, read_plate, read_roles, read_well
from .values import Attributes, Level, MultiscaleImage, Plate, Version, Well
from .wells import (
    check_well,
    plate_with_wells,
    plate_without_wells,
    well_with_field,
    well_without_field,
)
from .words import (
    fit_metadata,
    image_words,
    lower_names,
    samples_first,
    samples_last,
    with_marks,
    words_left,
)
from .writing import (
    add_label,
    add_series,
    image_document,
    keep_attributes,
    labels_document,
    remove_label,
    remove_series,
)

__all__ = [
    "Attributes",
    "Level",
    "MultiscaleImage",
    "Plate",
    "Version",
    "Well",
    "add_label",
    "add_series",
    "check_well",
    "fit_metadata",
    "image_document",
    "image_words",
    "keep_attributes",
    "labels_document",
    "lower_names",
    "plate_with_wells",
    "plate_without_wells",
    "read_image",
    "read_labels",
    "read_plate",
    "read_roles",
    "read_well",
    "remove_label",
    "remove_series",
    "samples_first",
    "samples_last",
    "well_with_field",
    "well_without_field",
    "with_marks",
    "words_left",
]
