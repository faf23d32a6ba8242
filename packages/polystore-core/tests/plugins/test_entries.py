"""Entry points and the records of distributions."""

from pathlib import Path

import pytest

from polystore_core import BackendRegistry
from polystore_core.errors import BrokenPluginError
from polystore_core.plugins import discovery

from .samples import FORMAT, Install, load_from


@pytest.mark.parametrize(
    ("group", "name"),
    [
        ("backends", ""),
        ("backends", "a:raw"),
        ("backends", "a,raw"),
        ("formats", "RAW"),
        ("formats", ".raw"),
        ("formats", ""),
    ],
)
def test_unusable_name_is_reported(install: Install, group: str, name: str) -> None:
    """A name that cannot be used is listed as broken, and appears nowhere else."""
    install("acme-fine", "fine")
    install("acme-raw", name, group=f"polystore.{group}", code=FORMAT)
    states = {s.distribution: s for s in discovery.survey()}
    assert states["acme-raw"].state == "broken"
    assert f"entry point {name!r} = 'acme_raw.plugin': " in states["acme-raw"].why
    assert name not in [*BackendRegistry(), *discovery.names("format")]
    assert load_from("fine") == "acme_fine"


@pytest.mark.parametrize("name", ["My Raw", "RAW", "größe", "raw-2.0"])
def test_unusual_name_works(install: Install, name: str) -> None:
    install("acme-raw", name)
    assert load_from(name) == "acme_raw"


@pytest.mark.parametrize("value", ["acme_raw.provided:Provided", "acme_raw.plugin [x]", "a b"])
def test_entry_must_be_module(install: Install, value: str) -> None:
    install("acme-raw", f"raw = {value}\nother")
    with pytest.raises(BrokenPluginError, match="must be only the module of the manifest"):
        load_from("raw")
    assert load_from("other") == "acme_raw"


def test_name_declared_twice_is_reported(install: Install) -> None:
    install("acme-raw", "raw = acme_raw.provided\nother = acme_raw.plugin\nraw")
    with pytest.raises(BrokenPluginError, match="2 entry points of this name"):
        load_from("raw")
    assert load_from("other") == "acme_raw"


def test_repeated_entry_counts_once(install: Install) -> None:
    install("acme-raw", "raw = acme_raw.plugin\nraw")
    assert load_from("raw") == "acme_raw"


def test_version_may_be_missing(install: Install, tmp_path: Path) -> None:
    install("acme-raw", "raw")
    record = tmp_path / "site/acme_raw-2.5.dist-info/METADATA"
    record.write_text("Metadata-Version: 2.1\nName: acme-raw\n")
    discovery.rescan()
    assert all(isinstance(s.version, str) for s in discovery.survey())


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("acme_bad-2.5.dist-info/METADATA", None),
        ("acme_bad-2.5.dist-info/METADATA", ""),
        ("acme_bad-2.5.dist-info/entry_points.txt", "[polystore.backends]\nno equals sign\n"),
        ("acme_bad-2.5.dist-info/entry_points.txt", "no section = at.all\n"),
        ("acme_bad-2.5.dist-info/entry_points.txt", "\0\xff"),
    ],
)
def test_damaged_record_harms_no_other(
    install: Install, tmp_path: Path, file: str, text: str | None
) -> None:
    install("acme-fine", "fine")
    install("acme-bad", "bad")
    damaged = tmp_path / "site" / file
    damaged.unlink()
    if text is not None:
        damaged.write_text(text, "latin-1")
    discovery.rescan()
    assert load_from("fine") == "acme_fine"
