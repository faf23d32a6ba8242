"""``polystore view`` shows each plane of an OME-TIFF set once."""

from pathlib import Path

import numpy as np
import pytest

from polystore_core import FileManager

from .conftest import Inbox, Run

pytest.importorskip("polystore_stream")
tifffile = pytest.importorskip("tifffile")

PLANES = np.arange(3 * 20, dtype="<u2").reshape(3, 4, 5)
SIZES = 'SizeX="5" SizeY="4" SizeZ="3" SizeC="1" SizeT="1" Type="uint16" DimensionOrder="XYZCT"'


@pytest.fixture
def paths(files: FileManager) -> list[str]:
    """Write a set with a file for each plane, in the folder ``run``."""
    Path("run").mkdir()
    found = [f"run/z{z}.ome.tif" for z in range(3)]
    blocks = "".join(
        f'<TiffData FirstZ="{z}" IFD="0"><UUID FileName="z{z}.ome.tif">{z}</UUID></TiffData>'
        for z in range(3)
    )
    about = f'<OME><Image ID="Image:0"><Pixels {SIZES}>{blocks}</Pixels></Image></OME>'
    for path, plane in zip(found, PLANES, strict=True):
        tifffile.imwrite(path, plane, description=about, metadata=None)
    return found


@pytest.mark.parametrize(
    "what",
    [("run",), ("run/z0.ome.tif", "run/z1.ome.tif", "run/z2.ome.tif"), ("run", "--follow")],
    ids=["folder", "several files", "follow"],
)
@pytest.mark.usefixtures("paths")
def test_each_file_is_shown_with_its_planes(
    run: Run, inbox: Inbox, what: tuple[str, ...]
) -> None:
    more = ("--timeout", "0") if "--follow" in what else ()
    result = run("view", *what, "--viewer", "streaming", *more)
    assert result.exit_code == 0, result.stderr
    items = inbox()
    assert len(items) == 3
    for item, plane in zip(items, PLANES, strict=True):
        np.testing.assert_array_equal(item["data"], plane)


def test_one_file_is_shown_with_its_set(run: Run, inbox: Inbox, paths: list[str]) -> None:
    assert run("view", paths[1], "--viewer", "streaming").exit_code == 0
    (item,) = inbox()
    np.testing.assert_array_equal(item["data"], PLANES)


def test_acquisition_is_followed_before_its_set_is_complete(
    run: Run, inbox: Inbox, paths: list[str]
) -> None:
    Path(paths[2]).unlink()
    result = run("view", "run", "--follow", "--viewer", "streaming", "--timeout", "0")
    assert (result.exit_code, len(inbox())) == (0, 2), result.stderr
