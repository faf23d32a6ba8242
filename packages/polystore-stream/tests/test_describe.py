import json
import pickle
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from polystore_core import Channel
from polystore_core.errors import InvalidOptionError, UnsupportedDataError
from polystore_core.rois import ROI, Points, Rectangle
from polystore_stream.wire.describe import Look, check_policy, check_wait, describe_value
from polystore_stream.wire.layout import Place
from polystore_stream.wire.messages import DTYPES, Image, Rois, encode, read_header

PLACE = Place("B02", "key", "channel 1", (("t", "0"), ("z", "3")))
GREY = np.arange(30, dtype=np.uint16).reshape(5, 6)
RGB = np.zeros((5, 6, 3), np.uint8)
POINT = ROI(Points([(1, 2)]), name="spot")


def describe(data, path="a.tif", split=False, **look):
    message, payload = describe_value(data, path, PLACE, Look(**look), split)
    assert read_header(encode(message)) == message
    assert payload.nbytes == message.nbytes
    return message, payload


def catch_refusal(data, **look) -> str:
    with pytest.raises((UnsupportedDataError, InvalidOptionError)) as caught:
        describe_value(data, "a.tif", PLACE, Look(**look), False)
    return str(caught.value)


# ── pixels ───────────────────────────────────────────────────────────────────────────────


def test_plain_image_is_described() -> None:
    message, pixels = describe(GREY)
    assert message == Image(
        path="a.tif",
        nbytes=60,
        window="B02",
        layer="key",
        title="channel 1",
        at=(("t", "0"), ("z", "3")),
        shape=(5, 6),
        dtype="<u2",
        axes="yx",
    )
    assert pixels is GREY


@pytest.mark.parametrize("dtype", sorted(DTYPES))
def test_every_dtype_travels(dtype: str) -> None:
    message, pixels = describe(np.ones((2, 3), dtype))
    assert (message.dtype, pixels.dtype.str) == (dtype, dtype)


@given(
    arrays.arrays(
        st.sampled_from([">u2", ">i4", ">f8", ">f2", "?", "<i8"]),
        arrays.array_shapes(min_dims=2, max_dims=5, max_side=4),
        elements={"allow_nan": False},
    ),
    st.integers(0, 3),
)
def test_values_survive_byte_order(array, turn: int) -> None:
    turned = np.rot90(array, turn)  # not contiguous
    message, pixels = describe(turned, axes="tczyx"[-array.ndim :])
    flat = np.frombuffer(np.ascontiguousarray(pixels).tobytes(), message.dtype)
    np.testing.assert_array_equal(flat.reshape(message.shape), turned)


def test_broadcast_array_counts_all() -> None:
    message, _ = describe(np.broadcast_to(np.uint16(7), (5, 6)))
    assert message.nbytes == 60


@pytest.mark.frameworks
def test_tensor_is_image() -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed")
    message, pixels = describe(torch.arange(6, dtype=torch.int16).reshape(2, 3))
    assert (message.shape, message.dtype) == ((2, 3), "<i2")
    np.testing.assert_array_equal(pixels, [[0, 1, 2], [3, 4, 5]])


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (np.empty((2, 2), object), "pickle"),
        (np.zeros((2, 2), np.complex64), "np.abs"),
        (np.zeros((2, 0)), "cannot show an array of shape (2, 0): expected"),
        (np.array(5), "cannot show an array of shape (): expected"),
        (np.array([["a", "b"]]), "bool, integers or floats"),
        (np.array([[b"a", b"b"]]), "bool, integers or floats"),
        (np.zeros((2, 2), "M8[s]"), "bool, integers or floats"),
        (np.zeros((2, 2), "m8[ms]"), "bool, integers or floats"),
        (np.zeros((2, 2), "V3"), "bool, integers or floats"),
        (np.zeros((2, 2), [("a", "u1"), ("b", "f4")]), "one field"),
        (np.ma.masked_array(GREY, GREY > 3), "mask"),
        (np.zeros(7), "with 1 axes is not an image"),
        (np.zeros((1,) * 6), "with 6 axes is not an image"),
        ([[1, 2], [3, 4]], "got list"),
        ("text", "got str"),
        (None, "got NoneType"),
        (np.ndarray, "got type"),
    ],
)
def test_other_values_are_refused(data, words: str) -> None:
    assert words in catch_refusal(data)


@pytest.mark.skipif(
    np.dtype("longdouble").itemsize == 8, reason="system: its longdouble is a float64"
)
def test_long_floats_are_refused() -> None:
    assert "float64" in catch_refusal(np.zeros((2, 2), np.longdouble))


def test_refusal_names_stream() -> None:
    with pytest.raises(UnsupportedDataError) as caught:
        describe_value(np.zeros(7), "a.tif", PLACE, Look(), False)
    assert caught.value.format == "stream"


# ── axes ─────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("shape", "look", "axes"),
    [
        ((5, 6), {}, "yx"),
        ((2, 5, 6), {}, "zyx"),
        ((2, 5, 6), {"channels": ["a", "b"]}, "cyx"),
        ((2, 2, 5, 6), {}, "czyx"),
        ((2, 2, 2, 5, 6), {}, "tczyx"),
        ((2, 5, 6), {"axes": "tyx"}, "tyx"),
        ((2, 5, 6), {"axes": ["c", "y", "x"]}, "cyx"),
    ],
)
def test_axes_are_completed(shape, look, axes: str) -> None:
    assert describe(np.zeros(shape, np.uint16), **look)[0].axes == axes


@pytest.mark.parametrize(
    "axes", ["", "y", "xy", "zyx", "yxs", "cc", "ab", ["y"], 2, {"y": 0, "x": 1}, ("y", 1)]
)
def test_wrong_axes_are_refused(axes) -> None:
    assert "axes" in catch_refusal(GREY, axes=axes)


@pytest.mark.parametrize(
    ("shape", "dtype", "axes", "expected"),
    [
        ((5, 6, 3), "u1", None, "yxs"),
        ((5, 6, 4), "u1", None, "yxs"),
        ((5, 6, 3), "u2", None, "zyx"),
        ((5, 6, 5), "u1", None, "zyx"),
        ((3, 5, 6), "u1", None, "zyx"),
        ((5, 6, 3), "u1", "zyx", "zyx"),
        ((5, 6, 3), "u2", "yxs", "yxs"),
        ((5, 6, 3), "f4", ["y", "x", "s"], "yxs"),
        ((2, 7, 5, 6, 4), "u1", "tzyxs", "tzyxs"),
        ((2, 5, 6, 3), "u1", None, "czyx"),
    ],
)
def test_samples_of_rgb(shape, dtype: str, axes, expected: str) -> None:
    message, _ = describe(np.zeros(shape, dtype), axes=axes)
    assert (message.axes, message.shape) == (expected, shape)


@pytest.mark.parametrize(
    ("data", "look", "words"),
    [
        (np.zeros((5, 6, 2), np.uint8), {"axes": "yxs"}, "3 or 4 samples"),
        (np.zeros((5, 6, 3), np.int16), {"axes": "yxs"}, "3 or 4 samples"),
        (np.zeros((5, 6, 3), bool), {"axes": "yxs"}, "3 or 4 samples"),
        (np.zeros((2, 5, 6, 3), np.uint8), {"axes": "yxs"}, "4 different axes"),
        (np.zeros(3, np.uint8), {"axes": "s"}, "0 axes"),
        (
            np.zeros((2, 5, 6, 3), np.uint8),
            {"axes": "cyxs"},
            "c for channels, or s for samples of RGB, not both",
        ),
        (RGB, {"labels": True}, "a label is one number"),
        (RGB, {"colormap": "gray"}, "not RGB"),
        (RGB, {"channels": ["r", "g", "b"]}, "channels"),
    ],
)
def test_wrong_rgb_is_refused(data, look, words: str) -> None:
    assert words in catch_refusal(data, **look)


@pytest.mark.parametrize(
    ("axes", "split", "layers"), [("cyx", True, "c"), ("cyx", False, ""), ("zyx", True, "")]
)
def test_channels_become_layers(axes: str, split: bool, layers: str) -> None:
    assert describe(np.zeros((2, 5, 6)), split=split, axes=axes)[0].layers == layers


# ── metadata ──────────────────────────────────────────────────────────────────────────────


def test_scale_and_units() -> None:
    message, _ = describe(
        np.zeros((2, 5, 6)), scale={"z": 2, "x": 0.5}, units={"x": "um", "z": "micrometer"}
    )
    assert message.scale == (2.0, 1.0, 0.5)
    assert message.units == ("micrometer", None, "micrometer")
    assert describe(RGB, scale=(0.5, 0.5))[0].scale == (0.5, 0.5)


def test_numbers_of_numpy() -> None:
    message, _ = describe(
        GREY, scale=np.array([0.5, 2]), contrast_limits=np.array([0, 9], np.uint8)
    )
    assert (message.scale, message.contrast_limits) == ((0.5, 2.0), (0.0, 9.0))
    assert describe(GREY, contrast_limits=[np.float32(1), 2])[0].contrast_limits == (1.0, 2.0)


@pytest.mark.parametrize(
    "scale", [(1,), (1, 2, 3), (1, 0), (1, -1), (1, np.nan), "ab", {"z": 1}]
)
def test_wrong_scale_is_refused(scale) -> None:
    assert "scale" in catch_refusal(GREY, scale=scale)


def test_wrong_unit_suggests() -> None:
    assert "'micrometer'" in catch_refusal(GREY, units="micrometre")


@pytest.mark.parametrize(
    ("channels", "expected"),
    [
        (["DAPI"], Channel(name="DAPI")),
        ([{"label": "DAPI"}], Channel(name="DAPI")),
        ([{"color": "red"}], Channel(color="FF0000")),
        ([{"label": "a", "color": None}], Channel(name="a")),
        ([Channel(name="a", color="00FF00")], Channel(name="a", color="00FF00")),
        ([Channel(name="a")], Channel(name="a")),
        ([{"window": {"start": 1, "end": 9}}], Channel(limits=(1.0, 9.0))),
        (["GFP\udcff"], Channel(name=r"GFP\udcff")),
    ],
)
def test_one_channel_is_described(channels, expected: Channel) -> None:
    assert describe(GREY, channels=channels)[0].channels == (expected,)


def test_several_channels_get_colours() -> None:
    message, _ = describe(np.zeros((2, 5, 6)), channels=["DAPI", {"label": "GFP"}])
    assert [channel.name for channel in message.channels] == ["DAPI", "GFP"]
    assert [channel.color for channel in message.channels] == ["FF00FF", "00FF00"]
    assert [channel.limits for channel in message.channels] == [None, None]


@pytest.mark.parametrize(
    ("shape", "look", "words"),
    [
        ((5, 6), {"channels": ["a", "b"]}, "the image has no axis c"),
        ((2, 5, 6), {"channels": ["a"], "axes": "cyx"}, "axis c has length 2"),
        ((2, 5, 6), {"channels": ["a", "b"], "axes": "zyx"}, "no axis c"),
        ((5, 6), {"channels": "a"}, "the image has no axis c"),
        ((5, 6), {"channels": [5]}, "names, or mappings"),
        ((5, 6), {"channels": [{"colour": "red"}]}, "colour"),
        ((5, 6), {"channels": [{"color": "reddish"}]}, "reddish"),
    ],
)
def test_wrong_channels_are_refused(shape, look, words: str) -> None:
    assert words in catch_refusal(np.zeros(shape), **look)


@pytest.mark.parametrize(
    "limits",
    [
        (1,),
        (0, 1, 2),
        (1, 1),
        (2, 1),
        (0, np.nan),
        (0, np.inf),
        ("0", "1"),
        "01",
        5,
        True,
        (False, True),
        {0, 1},
        {"a": 0, "b": 1},
        np.array(5),
        np.zeros((2, 2)),
        (0, 10**400),
    ],
)
def test_wrong_limits_are_refused(limits) -> None:
    assert "two finite numbers, the lower one first" in catch_refusal(
        GREY, contrast_limits=limits
    )


def test_colormap_is_passed_on() -> None:
    assert describe(GREY, colormap="viridis")[0].colormap == "viridis"
    for colormap in (5, ["red"], "gr\udcffey"):
        assert "colormap" in catch_refusal(GREY, colormap=colormap)


@pytest.mark.parametrize("dtype", ["u1", "i8", ">u4"])
def test_labels_are_integers(dtype: str) -> None:
    assert describe(np.ones((5, 6), dtype), labels=True)[0].labels is True


def test_masks_are_labels() -> None:
    """A mask becomes a label image of 0 and 1, and the message has the original dtype."""
    mask = np.eye(5, 6, dtype=bool)
    message, pixels = describe(mask, labels=True)
    assert (message.labels, message.dtype, message.original) == (True, "|u1", "|b1")
    assert np.array_equal(pixels, mask)
    assert describe(mask)[0].dtype == "|b1"


def test_other_labels_are_refused() -> None:
    assert "a label image needs integers" in catch_refusal(np.ones((5, 6), "f4"), labels=True)


def test_labels_have_no_channels() -> None:
    assert "a label image has no channels" in catch_refusal(GREY, labels=True, channels=["a"])


@pytest.mark.parametrize("labels", [1, None, "yes", np.True_])
def test_labels_are_true_or_false(labels) -> None:
    assert "True or False" in catch_refusal(GREY, labels=labels)
    assert "True or False" in catch_refusal([POINT], labels=labels)


# ── regions of interest ──────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "rois",
    [[], (), [POINT], [POINT, ROI(Rectangle((3, 4), (2, 2), 30), properties={"é": [1, "\n"]})]],
)
def test_rois_are_described(rois) -> None:
    message, payload = describe(rois)
    assert message == Rois(
        path="a.tif",
        nbytes=payload.nbytes,
        window="B02",
        layer="key",
        title="channel 1",
        at=PLACE.at,
        count=len(rois),
    )
    assert [ROI.from_dict(one) for one in json.loads(payload.tobytes())] == list(rois)


def test_areas_become_labels() -> None:
    assert describe([ROI(Rectangle((3, 4), (2, 2)))], labels=True)[0].labels
    assert "a Points has no area" in catch_refusal([POINT], labels=True)


def test_one_roi_becomes_a_list() -> None:
    assert describe(POINT)[1].tobytes() == describe([POINT])[1].tobytes()


def test_mixed_list_is_refused() -> None:
    assert "an array, got list" in catch_refusal([POINT, GREY])
    assert "an array, got tuple" in catch_refusal((POINT, None))


@pytest.mark.parametrize(
    "look",
    [
        {"colormap": "gray"},
        {"scale": np.array([1.0, 1.0])},
        {"axes": "yx"},
        {"contrast_limits": (0, 1), "labels": True},
        {"channels": ["a"]},
    ],
)
def test_rois_refuse_options_of_images(look) -> None:
    assert "no value for ROIs" in catch_refusal([POINT], **look)


# ── paths and options ────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("a/b.tif", "a/b.tif"),
        (Path("/a/b.tif"), "/a/b.tif"),
        ("é\N{DNA DOUBLE HELIX}.tif", "é\N{DNA DOUBLE HELIX}.tif"),
        ("run\udcff.tif", r"run\udcff.tif"),
    ],
)
def test_path_is_text(path, text: str) -> None:
    assert describe(GREY, path)[0].path == text
    assert describe([POINT], path)[0].path == text


@pytest.mark.parametrize("path", ["", b"a.tif"])
def test_other_paths_are_refused(path) -> None:
    with pytest.raises(InvalidOptionError, match="path="):
        describe_value(GREY, path, PLACE, Look(), False)


def test_wait_is_checked() -> None:
    for wait in ("received", "shown", None):
        check_wait(wait)
    for wrong in ("dropped", "", True, 1):
        with pytest.raises(InvalidOptionError, match="wait="):
            check_wait(wrong)


def test_policy_is_checked() -> None:
    for policy in ("block", "drop_oldest", "coalesce"):
        check_policy(policy)
    for wrong in ("drop", None, ["block"]):
        with pytest.raises(InvalidOptionError, match="block, drop_oldest, coalesce"):
            check_policy(wrong)


def test_look_lists_given_options() -> None:
    assert Look().given == Look(labels=False, axes=None).given == []
    look = Look(labels=True, scale=np.array([1.0, 2.0]))
    assert look.given == pickle.loads(pickle.dumps(look)).given == ["labels", "scale"]
