"""OME-TIFF sets made to leave the folder, to fill the memory or to take for ever."""

from __future__ import annotations

import os
import subprocess
import sys
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import pytest

from polystore_core import FileManager
from polystore_core.errors import (
    DamagedDataError,
    NotAFileError,
    StorageError,
    UnsupportedDataError,
    UnsupportedFileError,
)

from .files import assert_same, image, tifffile

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

fm = FileManager()
PLANE = image((9, 8))
GROWTH_LIMIT = 256  # MiB; no document has more than 8
MANY = 100_000

CHILD = """
import resource, sys
from polystore_core import FileManager
from polystore_core.errors import DamagedDataError, UnsupportedDataError
import tifffile, polystore_formats.tiff.info

def peak():
    if sys.platform != "linux":
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with open("/proc/self/status") as status:  # getrusage tells also of the parent's
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))

path, fm = sys.argv[1], FileManager()
before = peak()
for read in (
    lambda: fm.load(path, "disk"),
    lambda: fm.load(path, "disk", as_="image"),
    lambda: fm.open(path, "disk")[...],
    lambda: fm.info(path, "disk"),
):
    try:
        read()
        refused = False
    except (DamagedDataError, UnsupportedDataError):
        refused = True
    print("refused" if refused else "read")
print((peak() - before) // 1024)
"""


def pixels(content: str, **sizes: int | str) -> str:
    told = {"X": 8, "Y": 9, "Z": 3, "C": 1, "T": 1} | sizes
    attributes = " ".join(f'Size{axis}="{size}"' for axis, size in told.items())
    return (
        f'<Image ID="Image:0"><Pixels ID="P:0" DimensionOrder="XYZCT" Type="uint16" {attributes}>'
        f'<Channel ID="Channel:0:0" SamplesPerPixel="1"/>{content}</Pixels></Image>'
    )


def data(file: str, attributes: str) -> str:
    return f'<TiffData {attributes}><UUID FileName="{file}">urn:{file}</UUID></TiffData>'


OWN = data("a.ome.tif", 'IFD="0"')
NEXT = data("b.ome.tif", 'FirstZ="1" IFD="0"')


def only(name: str) -> str:
    return f'<BinaryOnly MetadataFile="{name}" UUID="urn:{name}"/>'


def write(path: Path, content: str, start: str = '<?xml version="1.0"?>') -> Path:
    text = f'{start}<OME UUID="urn:{path.name}">{content}</OME>'
    tifffile.imwrite(path, PLANE, description=text.encode(), metadata=None)
    return path


HOSTILE: dict[str, str] = {
    "same blocks": pixels(OWN + NEXT + "<TiffData/>" * 300_000),
    "other blocks": pixels(
        NEXT + "".join(f'<TiffData FirstZ="{n}" IFD="0"/>' for n in range(MANY)) + OWN,
        Z=MANY + 2,
    ),
    "files": pixels(
        "".join(data(f"{n}.tif", f'FirstZ="{n}" IFD="0"') for n in range(70_000)), Z=70_000
    ),
    "number of planes": pixels(
        data("b.ome.tif", 'IFD="0" PlaneCount="9999999999"') + OWN,
        Z=999_999_999,
    ),
    "planes of this file": pixels(
        data("a.ome.tif", 'IFD="0" PlaneCount="9999999999"') + NEXT, Z=4_000_000_000
    ),
    "pages again and again": pixels(
        "".join(
            data("ab"[n % 2] + ".ome.tif", f'FirstZ="{n * 30_000}" IFD="0" PlaneCount="30000"')
            for n in range(30_000)
        ),
        Z=900_000_000,
    ),
    "sizes": pixels(OWN + NEXT, Z=9_999_999_999, T=9_999_999_999, C=9_999_999_999),
    "digits": pixels(OWN + NEXT, Z="9" * 100_000),
    "no size": pixels(OWN + NEXT, Z=0),
    "negative": pixels(data("a.ome.tif", 'IFD="-1"') + NEXT),
    "far page": pixels(data("a.ome.tif", 'IFD="9999999999"') + NEXT),
    "depth": "<A>" * 300_000 + pixels(OWN + NEXT) + "</A>" * 300_000,
    "not closed": pixels(OWN + NEXT) + "<Image>",
    "order": pixels(OWN + NEXT).replace("XYZCT", "XYZZT"),
    "size of planes": pixels(OWN + NEXT, X=7),
    "samples": pixels(OWN + NEXT).replace('Pixel="1"', 'Pixel="3"'),
    "no planes": pixels(data("b.ome.tif", 'FirstZ="7"') + data("c.ome.tif", 'FirstZ="8"')),
    "itself": only("a.ome.tif"),
    "nothing": only(""),
    "outside": only("../a.ome.tif"),
}


@pytest.mark.skipif(sys.platform == "win32", reason="system: has no module resource")
@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_document_is_refused(tmp_path: Path, name: str) -> None:
    path = write(tmp_path / "a.ome.tif", HOSTILE[name])
    assert path.stat().st_size < 10 << 20
    tifffile.imwrite(tmp_path / "b.ome.tif", PLANE, metadata=None)
    child = subprocess.run(
        [sys.executable, "-c", CHILD, str(path)], capture_output=True, text=True, timeout=120
    )
    assert child.returncode == 0, child.stderr
    *refused, growth = child.stdout.split()
    assert refused[:3] == ["refused"] * 3, "it was loaded"
    assert int(growth) < GROWTH_LIMIT


@pytest.mark.parametrize("where", ["own", "companion"])
def test_entities_are_not_expanded(tmp_path: Path, where: str) -> None:
    names = "abcdefghijkl"
    bomb = "".join(f'<!ENTITY {b} "{f"&{a};" * 10}">' for a, b in pairwise(names))
    # The comment is there because OME-XML is known by its first kilobyte.
    start = f'<?xml version="1.0"?><!--<OME--><!DOCTYPE OME [<!ENTITY a "aaaaaaaaaa">{bomb}]>'
    content = pixels(OWN + NEXT).replace("urn:a.ome.tif", "&l;")
    if where == "own":
        path = write(tmp_path / "a.ome.tif", content, start)
    else:
        path = write(tmp_path / "a.ome.tif", only("x.companion.ome"))
        (tmp_path / "x.companion.ome").write_text(f"{start}<OME>{content}</OME>")
    with pytest.raises(DamagedDataError):
        fm.load(path, "disk")


@pytest.mark.parametrize(
    "name",
    [
        "../b.ome.tif",
        "/b.ome.tif",
        "..\\b.ome.tif",
        "C:\\b.ome.tif",
        "file:///b.ome.tif",
        "~/b",
    ],
)
def test_name_stays_in_folder(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    tifffile.imwrite(tmp_path / "b.ome.tif", PLANE, metadata=None)
    path = write(folder / "a.ome.tif", pixels(OWN + NEXT.replace("b.ome.tif", name)))
    with pytest.raises(UnsupportedFileError, match=r"below it.* multifile=False") as caught:
        fm.load(path, "disk")
    assert caught.value.path == str(path)
    assert fm.info(path, "disk").metadata["missing_files"] == [name]
    assert_same(fm.load(path, "disk", region=0), PLANE)
    assert_same(fm.load(path, "disk", multifile=False), PLANE)
    write(path, only(name))
    with pytest.raises(UnsupportedFileError, match=r"below it.* multifile=False"):
        fm.load(path, "disk")
    assert fm.info(path, "disk").metadata["missing_files"] == [name]


def test_metadata_files_in_a_ring(tmp_path: Path) -> None:
    write(tmp_path / "b.ome.tif", only("a.ome.tif"))
    with pytest.raises(UnsupportedFileError, match=r"refers to 'a\.ome\.tif'"):
        fm.load(write(tmp_path / "a.ome.tif", only("b.ome.tif")), "disk")


def fifo(path: Path) -> None:
    if not hasattr(os, "mkfifo"):
        pytest.skip("system: has no FIFO")
    os.mkfifo(path)


def folder(path: Path) -> None:
    path.mkdir()


def text(path: Path) -> None:
    path.write_text("a,b\n1,2\n" * 100)


def empty(path: Path) -> None:
    path.write_bytes(b"")


KINDS: dict[str, tuple[Callable[[Path], None], tuple[type[Exception], ...]]] = {
    "fifo": (fifo, (StorageError, UnsupportedFileError)),
    "folder": (folder, (NotAFileError,)),
    "text": (text, (DamagedDataError, UnsupportedFileError)),
    "empty": (empty, (DamagedDataError, UnsupportedFileError)),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("part", ["planes", "metadata"])
def test_other_kinds_of_file(tmp_path: Path, kind: str, part: str) -> None:
    make, expected = KINDS[kind]
    make(tmp_path / "b.ome.tif")
    content = pixels(OWN + NEXT, Z=2) if part == "planes" else only("b.ome.tif")
    path = write(tmp_path / "a.ome.tif", content)
    for read in (
        lambda: fm.load(path, "disk"),
        lambda: fm.load(path, "disk", as_="image"),
        lambda: fm.open(path, "disk")[...],
    ):
        with pytest.raises(expected, match=r"b\.ome\.tif"):
            read()
    assert_same(fm.load(path, "disk", multifile=False), PLANE)
    if part == "planes":
        assert fm.info(path, "disk").shape == (2, 9, 8)


def test_companion_larger_than_memory(tmp_path: Path) -> None:
    path = write(tmp_path / "a.ome.tif", only("x.companion.ome"))
    (tmp_path / "x.companion.ome").write_text("<OME>")
    os.truncate(tmp_path / "x.companion.ome", 1 << 40)
    with pytest.raises(UnsupportedFileError, match=r"x\.companion\.ome.* at most"):
        fm.load(path, "disk")


def test_tight_planes_need_permission(tmp_path: Path) -> None:
    """Files of kilobytes, or one page that is shown again and again, may not fill gigabytes."""
    count, size = 20, 8192
    blocks = "".join(
        data(f"{n % 10}.ome.tif", f'FirstZ="{n}" IFD="0" PlaneCount="1"') for n in range(count)
    )
    content = pixels(blocks, X=size, Y=size, Z=count)
    first = tmp_path / "0.ome.tif"
    tifffile.imwrite(
        first,
        np.zeros((size, size), "u2"),
        compression="zlib",
        description=f'<?xml version="1.0"?><OME UUID="urn:0.ome.tif">{content}</OME>',
        metadata=None,
    )
    for n in range(1, 10):
        (tmp_path / f"{n}.ome.tif").write_bytes(first.read_bytes())
    with pytest.raises(UnsupportedDataError, match="max_bytes=2684354560"):
        fm.load(first, "disk")
    assert fm.load(first, "disk", region=np.s_[13:15, :9]).shape == (2, 9, size)
