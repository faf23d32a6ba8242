"""Promises about images: an array is stored with all its metadata, or refused."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np
import pytest

from polystore_core import Axis, Channel, Image, ImageMetadata
from polystore_core.errors import UnsupportedDataError

from .conformance import Conformance
from .values import assert_same, image

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .conformance import Bound

__all__ = ["ImageTests"]

# An index removes an axis, a start moves the origin, and a step changes the pixel size: each
# of the three must also change the metadata.
REGION = (1, slice(2, None), slice(None, None, 2))


def make_stained() -> Image:
    """Return an image of two channels, with more metadata than most formats can store."""
    axes = (
        Axis("c", "channel"),
        Axis("y", "space", "micrometer", 0.5, 12.0),
        Axis("x", "space", "micrometer", 0.5, -3.5),
    )
    channels = (
        Channel(name="DAPI", color="0000FF", limits=(10.0, 900.0), emission_nm=461.0),
        Channel(name="GFP", color="00FF00", visible=False),
    )
    metadata = ImageMetadata(axes=axes, channels=channels, name="cells", bits=12)
    return Image(image(shape=(2, 6, 8)), metadata)


class ImageTests(Conformance):
    """A backend returns an image as it was saved, or refuses it before it changes anything.

    ``image_paths`` are paths at which images keep their metadata. Other paths may refuse them.
    """

    image_paths: ClassVar[Sequence[str]] = ()

    def test_images_keep_their_words(self, store: Bound) -> None:
        """``load(as_="image")`` returns the array with all its metadata."""
        for path in self.image_paths:
            store.save(make_stained(), path)
            _assert_kept(store, path)

    def test_images_are_whole_or_refused(self, store: Bound) -> None:
        """An image is stored with all its metadata, or refused."""
        store.save(image(), "a.npy")
        try:
            store.save(make_stained(), "x/b.npy")
        except UnsupportedDataError:
            # The refusal must come before a folder is created.
            assert store.list_dir(".") == ["a.npy"]
        else:
            _assert_kept(store, "x/b.npy")

    def test_arrays_say_nothing_of_their_axes(self, store: Bound) -> None:
        """An array without metadata is not an image: axes are never guessed."""
        store.save(image(), "a.npy")
        if store.info("a.npy").image is None:
            with pytest.raises(UnsupportedDataError, match="axes"):
                store.load("a.npy", as_="image")
        else:
            found = store.load("a.npy", as_="image").metadata
            assert found.words() == frozenset()


def _assert_kept(store: Bound, path: str) -> None:
    expected = make_stained()
    assert_same(store.load(path), expected.data)
    found = store.load(path, as_="image")
    assert_same(np.asarray(found), expected.data)
    assert found.metadata == expected.metadata
    assert store.info(path).image == expected.metadata
    part = store.load(path, as_="image", region=REGION)
    assert_same(np.asarray(part), expected.data[REGION])
    assert part.metadata == expected[REGION].metadata
    if "open" in store.instance.capabilities:
        lazy = store.open(path, as_="image")
        assert lazy.metadata == expected.metadata
        assert_same(np.asarray(lazy[REGION]), expected.data[REGION])
