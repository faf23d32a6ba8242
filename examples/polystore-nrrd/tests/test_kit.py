import numpy as np
import pytest

from polystore_core import BackendRegistry
from polystore_nrrd.format import Nrrd
from polystore_testing import NAME, FormatTests, ImageTests


class TestFormat(FormatTests):
    format_ = Nrrd()
    values = [
        np.arange(24, dtype=dtype).reshape(2, 3, 4)
        for dtype in ("u1", "i2", ">u2", "i4", "u8", "f4", ">f8")
    ]
    refused = [
        "text",
        np.array(7),
        np.zeros((0, 3)),
        np.ones(3, bool),
        np.ones(3, complex),
        np.ones(3, "f2"),
        np.zeros((1,) * 17),
    ]


class TestImages(ImageTests):
    image_paths = ("a.nrrd",)

    @pytest.fixture
    def registry(self, tmp_path):
        registry = BackendRegistry()
        registry.add(NAME, "disk", root=str(tmp_path))
        return registry
