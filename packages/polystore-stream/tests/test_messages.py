import json
import math
import random
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from polystore_core import Channel
from polystore_core.errors import DamagedDataError
from polystore_stream.wire.messages import (
    DTYPES,
    PIECE,
    Ack,
    Answer,
    Bye,
    Failure,
    Hello,
    Image,
    Item,
    Piece,
    Query,
    Ring,
    Rois,
    Source,
    Welcome,
    encode,
    read_header,
    read_reply,
)
from polystore_testing.examples import examples

IMAGE = Image(
    number=3,
    path="a.tif",
    nbytes=180,
    window="B02",
    layer="key",
    title="DAPI",
    at=(("t", "0"), ("z", "3")),
    series=4,
    wait="shown",
    policy="coalesce",
    slot=1,
    shape=(2, 5, 6, 3),
    dtype="|u1",
    axes="zyxs",
    scale=(1.0, 0.5, 0.5),
    units=(None, "micrometer", "micrometer"),
    channels=(Channel(name="DAPI", color="FF0000"),),
    contrast_limits=(0.0, 9.0),
)
NAMED = Image(
    path="plate",
    nbytes=0,
    shape=(4, 2, 600, 700),
    dtype="<u2",
    axes="cyx",
    sliders=("field",),
    scale=(1.0, 0.5, 0.5),
    channels=(Channel(name="DNA"), Channel(name="ER")),
    source=Source(
        backend="zarr", path="/data/plate.ome.zarr", options={"level": 0}, order=(0, 3, 1, 2)
    ),
)
HEADERS = [
    IMAGE,
    Image(path="a", nbytes=4, shape=(2, 1), dtype="<u2", axes="yx"),
    Hello(protocol=(1, 0), token="t", producer="p.py", pid=7, host="here"),
    Ring(path="/proc/7/fd/3", size=4096 + PIECE, nonce="00" * 16),
    Rois(path="a", nbytes=2, count=0, labels=True),
    Piece(number=4, of=3, start=PIECE, nbytes=9, slot=0),
    Query(number=5, name="layers", arguments={"window": "", "deep": [{"a": None}]}),
    Bye(number=6),
    NAMED,
]
REPLIES = [
    Welcome(number=1, protocol=(1, 0), kind="napari", name="default", version="0.9", pid=8),
    Ack(number=3, stage="received", others=(4, 5)),
    Ack(number=3, stage="rejected", reason="too large"),
    Failure(path="a.tif", reason="no memory"),
    Answer(number=5, value={"layers": ["a"]}, arrays=(((2, 3), "<u2"),)),
]

# ── messages come back equal ──────────────────────────────────────────────────────────────

NUMBERS = st.integers(-(1 << 63), (1 << 64) - 1)
FLOATS = st.floats(allow_nan=False, allow_infinity=False)
JSON = st.recursive(
    st.none() | st.booleans() | NUMBERS | FLOATS | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)
CHANNELS = st.builds(
    Channel,
    name=st.text(),
    color=st.none() | st.text(),
    limits=st.none() | st.tuples(FLOATS, FLOATS),
)


def item(**more: st.SearchStrategy[Any]) -> dict[str, st.SearchStrategy[Any]]:
    return {
        "number": NUMBERS,
        "path": st.text(),
        "nbytes": st.integers(1, 1 << 62),
        "window": st.text(),
        "layer": st.none() | st.text(),
        "title": st.text(),
        "at": st.lists(st.tuples(st.text(), st.text()), max_size=3).map(tuple),
        "series": NUMBERS,
        "wait": st.sampled_from(["received", "shown"]),
        "policy": st.sampled_from(["block", "drop_oldest", "coalesce"]),
        "slot": st.none() | st.integers(0, 1 << 20),
    } | more


@st.composite
def describe_images(draw: st.DrawFn) -> Image:
    axes = "".join(axis for axis in "tcz" if draw(st.booleans())) + "yx"
    shape = draw(st.tuples(*[st.integers(1, 1 << 20)] * len(axes)))
    has_samples = draw(st.booleans())
    dtype = draw(st.sampled_from(sorted(DTYPES)))
    if has_samples and dtype[1] in "uf":
        axes, shape = axes + "s", (*shape, draw(st.sampled_from([3, 4])))
    count = len(axes.rstrip("s"))
    channels = min(shape[axes.index("c")], 1000) if "c" in axes else 1
    maker = st.builds(
        Image,
        **item(
            nbytes=st.just(math.prod(shape) * int(dtype[2:])),
            labels=st.booleans(),
            layers=st.sampled_from(["", "c"]) if "c" in axes else st.just(""),
            scale=st.just(()) | st.tuples(*[FLOATS] * count),
            units=st.just(()) | st.tuples(*[st.none() | st.text()] * count),
            channels=st.just(())
            | (st.tuples(*[CHANNELS] * channels) if channels < 5 else st.just(())),
            colormap=st.none() | st.text(),
            contrast_limits=st.none() | st.tuples(FLOATS, FLOATS),
        ),
        shape=st.just(shape),
        dtype=st.just(dtype),
        axes=st.just(axes),
    )
    return draw(maker)


PAIRS = st.tuples(NUMBERS, NUMBERS)
ANY_HEADER = st.one_of(
    describe_images(),
    st.builds(Rois, **item(count=NUMBERS, labels=st.booleans())),
    st.builds(
        Hello,
        number=NUMBERS,
        protocol=PAIRS,
        token=st.text(),
        producer=st.text(),
        pid=NUMBERS,
        host=st.text(),
    ),
    st.builds(Ring, number=NUMBERS, path=st.text(), size=NUMBERS, nonce=st.text()),
    st.builds(
        Piece,
        number=NUMBERS,
        of=NUMBERS,
        start=NUMBERS,
        nbytes=NUMBERS,
        slot=st.none() | NUMBERS,
    ),
    st.builds(
        Query, number=NUMBERS, name=st.text(), arguments=st.dictionaries(st.text(), JSON)
    ),
    st.builds(Bye, number=NUMBERS),
)
STAGES = ["received", "shown", "coalesced", "dropped", "rejected", "closed"]
ANY_REPLY = st.one_of(
    st.builds(
        Welcome,
        number=NUMBERS,
        protocol=PAIRS,
        kind=st.text(),
        name=st.text(),
        version=st.text(),
        pid=NUMBERS,
    ),
    st.builds(
        Ack,
        number=NUMBERS,
        stage=st.sampled_from(STAGES),
        reason=st.text(),
        others=st.lists(NUMBERS).map(tuple),
    ),
    st.builds(Failure, number=NUMBERS, path=st.text(), reason=st.text()),
    st.builds(
        Answer,
        number=NUMBERS,
        value=JSON,
        arrays=st.lists(st.tuples(st.lists(NUMBERS).map(tuple), st.text())).map(tuple),
    ),
)


@given(ANY_HEADER)
def test_headers_come_back(header) -> None:
    assert read_header(encode(header)) == header
    json.loads(encode(header))


@given(ANY_REPLY)
def test_replies_come_back(reply) -> None:
    assert read_reply(encode(reply)) == reply
    json.loads(encode(reply))


def test_unknown_fields_are_ignored() -> None:
    for header in HEADERS:
        longer = json.loads(encode(header)) | {"colour": ["red"]}
        assert read_header(json.dumps(longer).encode()) == header


def test_defaults_are_not_sent() -> None:
    assert encode(Bye()) == b'{"type":"bye"}'
    assert json.loads(encode(HEADERS[1])) == {
        "type": "image",
        "path": "a",
        "nbytes": 4,
        "shape": [2, 1],
        "dtype": "<u2",
        "axes": "yx",
    }


def test_token_is_not_shown() -> None:
    assert "secret" not in repr(
        Hello(protocol=(1, 0), token="secret", producer="p", pid=1, host="")
    )


@pytest.mark.parametrize("message", [*HEADERS, *REPLIES], ids=lambda m: type(m).__name__)
def test_messages_are_frozen(message) -> None:
    with pytest.raises(AttributeError, match="immutable"):
        message.number = 9


# ── wrong messages ────────────────────────────────────────────────────────────────────────


def damage(frame: bytes) -> str:
    with pytest.raises(DamagedDataError) as caught:
        read_header(frame)
    assert caught.value.format == "message"
    return caught.value.reason


def image(**changed: object) -> bytes:
    return json.dumps(json.loads(encode(IMAGE)) | changed).encode()


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"dtype": "|O"}, "the dtype '|O' is not supported"),
        ({"dtype": ">u2"}, "the dtype '>u2' is not supported"),
        ({"dtype": "<c8"}, "the dtype '<c8' is not supported"),
        ({"dtype": ""}, "the dtype '' is not supported"),
        ({"dtype": "u1"}, "the dtype 'u1' is not supported"),
        ({"dtype": "|V1"}, "the dtype '|V1' is not supported"),
        ({"shape": []}, "do not fit an array of 0 axes"),
        ({"shape": [180]}, "do not fit an array of 1 axes"),
        ({"shape": [9] * 100_000}, "100000 axes are more than"),
        ({"shape": [2, 5, 6, 4]}, "180 bytes do not fit shape"),
        ({"shape": [-2, -5, 6, 3]}, "180 bytes do not fit shape"),
        ({"shape": [0, 5, 6, 3], "nbytes": 1}, "bytes do not fit shape"),
        ({"shape": [1 << 62, 5, 6, 3]}, "180 bytes do not fit shape"),
        ({"shape": [1 << 200, 5, 6, 3]}, "180 bytes do not fit shape"),
        ({"shape": [2.0, 5, 6, 3]}, "$.shape"),
        ({"shape": None}, "$.shape"),
        ({"nbytes": 0}, "nbytes is 0 and slot is 1"),
        ({"nbytes": -180}, "nbytes is -180"),
        ({"nbytes": 10**4000}, "bytes do not fit shape"),
        ({"nbytes": True}, "$.nbytes"),
        ({"slot": -1}, "slot is -1"),
        ({"axes": "tzyx"}, "scale has length 3, but axes 'tzyx' need 4"),
        ({"axes": "zyx"}, "axes 'zyx'"),
        ({"axes": "zysx"}, "axes 'zysx'"),
        ({"axes": "szyx"}, "axes 'szyx'"),
        ({"axes": "zzyx"}, "axes 'zzyx'"),
        ({"axes": "ctyx"}, "axes 'ctyx'"),
        ({"axes": "tzab"}, "axes 'tzab'"),
        ({"axes": "zyx\n"}, "axes"),
        ({"axes": "cyxs", "shape": [2, 5, 9, 2]}, "samples of RGB(A)"),
        ({"dtype": "|i1"}, "samples of RGB(A)"),
        ({"dtype": "|b1"}, "samples of RGB(A)"),
        ({"scale": [1.0, 1.0]}, "scale has length 2, but axes 'zyxs' need 3"),
        ({"scale": [1.0] * 4}, "scale has length 4, but axes 'zyxs' need 3"),
        ({"scale": ["1", "1", "1"]}, "$.scale"),
        ({"units": ["m"]}, "units has length 1, but axes 'zyxs' need 3"),
        ({"units": [1, 2, 3]}, "$.units"),
        ({"channels": [{}, {}]}, "channels has length 2, but axes 'zyxs' need 1"),
        ({"channels": ["a"]}, "$.channels"),
        ({"layers": "c"}, "layers along 'c'"),
        ({"layers": "z"}, "layers along 'z'"),
        ({"labels": 1}, "$.labels"),
        ({"at": [["z"]]}, "$.at"),
        ({"at": {"z": "3"}}, "$.at"),
        ({"contrast_limits": [1]}, "$.contrast_limits"),
        ({"wait": "for ever"}, "$.wait"),
        ({"policy": "drop"}, "$.policy"),
        ({"number": "3"}, "$.number"),
        ({"path": None}, "$.path"),
        ({"type": "picture"}, "picture"),
        ({"type": None}, "$.type"),
    ],
)
def test_wrong_images_are_damage(changed: dict[str, object], words: str) -> None:
    assert words in damage(image(**changed))


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"nbytes": 3360000}, "but an image with a source has no payload"),
        ({"slot": 0}, "but an image with a source has no payload"),
        ({"source": None}, "nbytes is 0"),
        ({"source": None, "nbytes": 6720000}, "sliders need a source"),
        ({"sliders": []}, "axes 'cyx' do not fit an array of 4 axes"),
        ({"sliders": ["a", "b"]}, "and sliders ('a', 'b') do not fit an array of 4 axes"),
        ({"axes": "yx", "sliders": ["a", "a"], "scale": []}, "need names that differ"),
        ({"sliders": [""]}, "need names that differ"),
        ({"sliders": ["well"], "at": [["well", "A01"]]}, "need names that differ"),
        ({"shape": [4, 2, 0, 700]}, "0 bytes do not fit shape"),
        ({"scale": [1.0] * 4}, "scale has length 4"),
        ({"source": {"backend": "zarr"}}, "path"),
        ({"source": {"backend": "", "path": "/a"}}, "do not name a file"),
        ({"source": {"backend": "zarr", "path": "a"}}, "do not name a file"),
        ({"source": {"backend": "zarr", "path": "/a", "order": [0, 1, 2]}}, "the order"),
        ({"source": {"backend": "zarr", "path": "/a", "order": [0, 1, 2, 2]}}, "the order"),
        ({"source": {"backend": "zarr", "path": "/a", "options": []}}, "options"),
    ],
    ids=str,
)
def test_wrong_sources_are_damage(changed: dict[str, object], words: str) -> None:
    """Each field of a source is checked before a file is opened."""
    assert words in damage(json.dumps(json.loads(encode(NAMED)) | changed).encode())


@pytest.mark.parametrize("missing", ["type", "path", "nbytes", "shape", "dtype", "axes"])
def test_missing_field_is_damage(missing: str) -> None:
    content = json.loads(encode(IMAGE))
    del content[missing]
    assert missing in damage(json.dumps(content).encode())


@pytest.mark.parametrize("content", [{"nbytes": 0}, {"slot": -5}, {"nbytes": -1}])
def test_wrong_rois_are_damage(content: dict[str, object]) -> None:
    damage(
        json.dumps({"type": "rois", "path": "a", "nbytes": 2, "count": 1} | content).encode()
    )


DEEP = 100_000


@pytest.mark.parametrize(
    "frame",
    [
        b"",
        b"\0",
        b" ",
        b"null",
        b"[]",
        b"{}",
        b"5",
        b'"bye"',
        b"{",
        b'{"type":"bye"',
        b"\xff",
        b'{"type":"bye"}{"type":"bye"}',
        b'{"type":"bye"}\0',
        b"\xef\xbb\xbf" + encode(Bye()),
        '{"type":"bye"}'.encode("utf-16"),
        b'{"type":"\xff"}',
        b'{"type":"query","name":"\xff"}',
        b'{"type":"query","name":"a","arguments":{"\xed\xa0\x80":1}}',
        b'{"type":"query","name":"\\ud800"}',
        b'{"type":"query","name":"a\nb"}',
        b'{"type":"bye","number":NaN}',
        b'{"type":"bye","number":1e400}',
        b'{"type":"bye","number":' + b"9" * 100_000 + b"}",
        b'{"type":"query","name":"a","arguments":{"a":1e999}}',
        b"[" * DEEP,
        b'{"a":' * DEEP,
        b'{"type":' * DEEP,
        b'{"type":"bye","more":' + b"[" * DEEP + b"]" * DEEP + b"}",
        b'{"type":"query","name":"a","arguments":{"a":' + b'{"a":' * DEEP + b"}" * (DEEP + 2),
        *map(encode, REPLIES),
    ],
    ids=lambda frame: repr(frame[:24]),
)
def test_other_frames_are_not_headers(frame: bytes) -> None:
    assert damage(frame)


@pytest.mark.parametrize(
    "frame",
    [
        b"",
        b"null",
        b'{"type":"failure","path":"\xff","reason":""}',
        b"[" * DEEP,
        b'{"type":"answer","value":' + b"[" * DEEP + b"]" * DEEP + b"}",
        b'{"type":"ack","stage":"lost"}',
        b'{"type":"ack"}',
        b'{"type":"answer","arrays":[[[1.5],"|u1"]]}',
        *map(encode, HEADERS),
    ],
    ids=lambda frame: repr(frame[:24]),
)
def test_other_frames_are_not_replies(frame: bytes) -> None:
    with pytest.raises(DamagedDataError):
        read_reply(frame)


# ── random input ──────────────────────────────────────────────────────────────────────────


def check_frame(frame: bytes) -> None:
    """Read the frame. Either the message can be answered, or it is ``DamagedDataError``."""
    for read in (read_header, read_reply):
        try:
            message = read(frame)
        except DamagedDataError:
            continue
        assert isinstance(message, msgspec.Struct)
        encode(Ack(number=message.number, stage="received"))
        is_named = isinstance(message, Image) and message.source is not None
        if isinstance(message, Item):
            assert message.nbytes == 0 if is_named else message.nbytes > 0
        if isinstance(message, Image):
            nbytes = math.prod(message.shape) * int(message.dtype[2:])
            assert nbytes > 0 if is_named else nbytes == message.nbytes
            assert len(message.shape) == len(message.sliders) + len(message.axes)
            assert len(message.axes) <= 6


@settings(max_examples=examples(500))
@given(st.binary(max_size=200))
def test_random_bytes_are_survived(frame: bytes) -> None:
    check_frame(frame)


VALID = [encode(message) for message in (*HEADERS, *REPLIES)]


@settings(max_examples=examples(500))
@given(st.sampled_from(VALID), st.data())
def test_cut_and_changed_are_survived(frame: bytes, data) -> None:
    start = data.draw(st.integers(0, len(frame)))
    stop = data.draw(st.integers(start, min(len(frame), start + 5)))
    check_frame(frame[:start] + data.draw(st.binary(max_size=5)) + frame[stop:])


@settings(max_examples=examples(500))
@given(st.sampled_from(VALID), st.data())
def test_other_values_are_survived(frame: bytes, data) -> None:
    content = json.loads(frame)
    name = data.draw(st.sampled_from(sorted(content)))
    content[name] = data.draw(JSON | st.sampled_from(HUGE))
    check_frame(json.dumps(content).encode("utf-8", "surrogatepass"))


HUGE: list[object] = [
    1 << 63,
    -(1 << 64),
    10**4000,
    [1 << 62] * 5,
    [-1] * 4,
    [[0]] * 4,
    "\ud800",
]


@pytest.mark.faults
@pytest.mark.parametrize("seed", range(8))
def test_many_damages_are_survived(seed: int) -> None:
    chance = random.Random(seed)
    for _ in range(25_000):
        frame = bytearray(chance.choice(VALID))
        for _ in range(chance.randint(1, 4)):
            at = chance.randrange(len(frame) + 1)
            if chance.random() < 0.5 and at < len(frame):
                frame[at] = chance.choice(b'{}[]",:-0159eE.\\u\0\xff\xed tnf')
            elif chance.random() < 0.5:
                frame[at : at + chance.randint(1, 9)] = chance.choice(VALID)[at : at + 9]
            else:
                frame[at:at] = chance.randbytes(chance.randint(1, 3))
        check_frame(bytes(frame))
