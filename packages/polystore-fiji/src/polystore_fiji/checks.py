"""The findings of ``polystore doctor`` about Fiji and ImageJ."""

from __future__ import annotations

from typing import TYPE_CHECKING

from polystore_core import Finding
from polystore_core.errors import PolystoreError, ReceiverError
from polystore_stream.checks import screen, viewers

from .imagej import find_imagej, installations
from .jars import check_installed, find_installed_jars, find_own_jar
from .java import find_bundled_java, find_java, read_java
from .launching import DISPLAY, KIND, WITHOUT_SCREEN

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .imagej import ImageJ

__all__ = ["findings"]


def findings() -> Iterator[Finding]:
    """Yield whether a save into ``fiji_stream`` would find receiver, ImageJ, Java and screen."""
    try:
        yield Finding(what="receiver", state="ok", found=str(find_own_jar()))
    except ReceiverError as error:
        yield _missing("receiver", error)
        return  # without our jar, the one in plugins/ cannot be compared
    chosen = None
    try:
        chosen = find_imagej()
    except PolystoreError as error:
        yield _missing("ImageJ", error)
    if chosen:
        yield Finding(what="ImageJ", state="ok", found=str(chosen))
        yield from _plugin(chosen)
    for other in installations():
        if other != chosen and other.folder:
            jars = ", ".join(map(str, find_installed_jars(other.folder)))
            found = f"{other}, {f'receiver {jars}' if jars else 'without a receiver'}"
            remedy = f'polystore-fiji install --fiji "{other.folder}"'
            yield Finding(what="another ImageJ", state="note", found=found, remedy=remedy)
    yield _java(chosen)
    yield screen(DISPLAY, advice=WITHOUT_SCREEN)
    yield from viewers(KIND)


def _plugin(imagej: ImageJ) -> Iterator[Finding]:
    if imagej.folder is None:
        return  # it gets our jar when it is started, so nothing must be installed
    try:
        jar = check_installed(imagej.folder)
    except ReceiverError as error:
        yield _missing("plugin", error)
        return
    old = jar.version != find_own_jar().version
    remedy = f'polystore-fiji install --fiji "{imagej.folder}"' if old else ""
    yield Finding(what="plugin", state="note" if old else "ok", found=str(jar), remedy=remedy)


def _java(imagej: ImageJ | None) -> Finding:
    if imagej and imagej.launcher:  # the launcher searches Java itself, first in its own folder
        own = filter(None, map(read_java, find_bundled_java(imagej.folder)))
        found = next(map(str, own), "none in its folder: its launcher searches for one")
        return Finding(what="Java", state="ok", found=found)
    try:
        java = find_java(folder=imagej.folder if imagej else None)
    except PolystoreError as error:
        return _missing("Java", error)
    return Finding(what="Java", state="ok", found=str(java))


def _missing(what: str, error: PolystoreError) -> Finding:
    if isinstance(error, ReceiverError):
        found = f"{error.receiver} {error.reason}"
        return Finding(what=what, state="missing", found=found, remedy=error.advice)
    return Finding(what=what, state="missing", found=str(error))
