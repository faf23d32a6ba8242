"""Write one file of every kind: python tests/golden/make.py

The files go into ``tests/golden/<version of polystore-core>.zip``, and later versions must load
them, as ``tests/test_golden.py`` checks. An archive is made once, with the release of its name.
"""

from __future__ import annotations

import tempfile
import zipfile
from pathlib import Path

from cases import CASES, SETTINGS, SUBDIRECTORIES, filled, ramp

import polystore
from polystore import AtomicMetadataWriter, BackendRegistry, FileManager, atomic_write_json


def write_files(manager: FileManager, folder: Path) -> None:
    for backend, cases in CASES.items():
        for case in cases:
            if case.save is not None:
                manager.save(
                    case.value(), str(folder / case.path), backend=backend, **case.save
                )
    volume = filled()
    array = manager.create(
        str(folder / "parts.zarr/volume"),
        backend="zarr",
        shape=volume.shape,
        dtype=volume.dtype,
        chunks=(1, 16, 16),
        fill_value=9,
    )
    array[1] = volume[1]
    array[2:, :16, 16:] = volume[2:, :16, 16:]
    write_plate(manager, folder)
    writer = AtomicMetadataWriter()
    for name, values in SUBDIRECTORIES.items():
        writer.merge_subdirectory_metadata(folder / "metadata.json", {name: values})
    atomic_write_json(SETTINGS, folder / "settings.json")


def write_plate(manager: FileManager, folder: Path) -> None:
    from polystore_zarr import save_plate

    with tempfile.TemporaryDirectory() as scan:
        for channel in range(2):
            image = ramp(9, 8, seed=channel)
            manager.save(image, f"{scan}/exp_A01f00d{channel}.TIF", backend="disk")
        save_plate(
            manager,
            scan,
            str(folder / "scan.ome.zarr"),
            names="*_{well}f{field}d{channel}.TIF",
            source_backend="disk",
            backend="zarr",
            scale={"y": 0.65, "x": 0.65},
            units="um",
        )


def main() -> None:
    archive = Path(__file__).with_name(f"{polystore.__version__}.zip")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_files(FileManager(BackendRegistry()), folder)
        with zipfile.ZipFile(archive, "x") as file:
            for path in sorted(folder.rglob("*")):
                if path.is_file() and not path.name.startswith(".~ps-"):  # locks
                    entry = zipfile.ZipInfo(str(path.relative_to(folder)))
                    file.writestr(entry, path.read_bytes(), zipfile.ZIP_DEFLATED, 9)
    print(archive.name, archive.stat().st_size, "bytes")


if __name__ == "__main__":
    main()
