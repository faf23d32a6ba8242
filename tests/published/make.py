"""Write the files of ``0.6.3.zip``, in an environment with the published version:

python -m venv old && old/bin/pip install polystore==0.6.3 tifffile pandas roifile
old/bin/python make.py FOLDER
"""

import os
import sys

import numpy as np
from polystore.zarr_batch import ZarrBatchAxis, ZarrBatchLayout

from polystore import (
    ROI,
    AtomicMetadataWriter,
    EllipseShape,
    FileManager,
    PointShape,
    PolygonShape,
    PolylineShape,
    get_backend_instance,
)

os.chdir(sys.argv[1])
fm = FileManager({name: get_backend_instance(name) for name in ("disk", "zarr")})
image = np.arange(12, dtype="uint16").reshape(3, 4)

fm.save(image, "a.npy", "disk")
fm.save(image, "a.tif", "disk")
fm.save(np.stack([image, image + 1]), "stack.tif", "disk")
fm.save(image.astype("uint8"), "a.png", "disk")
fm.save(np.full((8, 8), 7, "uint8"), "a.jpg", "disk")
fm.save({"well": "B03", "sizes": [1, 2.5]}, "a.json", "disk")
fm.save("two\nlines\n", "a.txt", "disk")
fm.save([{"cell": 1, "area": 2.5}, {"cell": 2, "area": 4.5}], "a.csv", "disk")

corners = np.array([[1.0, 1], [1, 8], [6, 8]])
shapes = [
    PolygonShape(corners),
    PolylineShape(corners),
    EllipseShape(20.0, 30.0, 4.5, 6.0),
    PointShape(3.0, 4.0),
]
rois = [ROI(shapes=[shape], metadata={"label": i}) for i, shape in enumerate(shapes)]
fm.save(rois, "a.roi.zip", "disk")

fm.save(image, "one.zarr", "zarr")
layout = ZarrBatchLayout(axes=(ZarrBatchAxis("c", ("1", "2")),), item_coordinates=((0,), (1,)))
fm.save_batch(
    [image, image + 1],
    ["plate.zarr/A01_w1.tif", "plate.zarr/A01_w2.tif"],
    "zarr",
    chunk_name="A01",
    batch_layout=layout,
    row="A",
    col="01",
)
AtomicMetadataWriter().merge_subdirectory_metadata(
    "polystore_metadata.json", {"plate.zarr": {"available_backends": {"zarr": True}}}
)
