"""The kit finds the faults that it tests for."""

import pytest

from polystore_core import BackendRegistry, FileManager, StorageBackend
from polystore_testing import (
    NAME,
    Bound,
    SinkTests,
    StorageTests,
    check_against_model,
    overrides,
)

pytestmark = pytest.mark.slow


def test_silent_override_is_refused():
    with pytest.raises(TypeError, match="test_save_returns_nothing replaces a test"):

        class Quiet(SinkTests):
            def test_save_returns_nothing(self, store):
                pass


def test_declared_override_is_allowed():
    class Declared(SinkTests):
        @overrides("this backend answers with a receipt")
        def test_save_returns_nothing(self, store):
            assert store.save(1, "a.npy") is not None

    assert Declared.test_save_returns_nothing.__polystore_reason__


def test_registry_must_be_supplied(pytester_file):
    assert "there is no fixture `registry`" in pytester_file(
        "from polystore_testing import SinkTests\nclass TestMine(SinkTests): pass\n"
    )


@pytest.fixture
def pytester_file(tmp_path):
    """Run pytest on a module and return its output."""
    import subprocess
    import sys

    def run(text, *arguments):
        (tmp_path / "test_mine.py").write_text(text)
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
        return subprocess.run(
            [*command, "test_mine.py", *arguments],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        ).stdout

    return run


FAULTY = """
import copy
import numpy as np
import pytest
from polystore_core import BackendRegistry
from polystore_testing import NAME, StorageTests
from polystore_memory.backend import MemoryBackend

class Faulty(MemoryBackend):
    _backend_type = "faulty"
    {fault}

class TestFaulty(StorageTests):
    persistent = False
    @pytest.fixture
    def registry(self):
        registry = BackendRegistry()
        registry.add(NAME, "faulty", root="top")
        return registry
"""


@pytest.mark.parametrize(
    ("fault", "caught_by"),
    [
        (
            "def load(self, path, /, **o): return super().load(path, **{**o, 'copy': 'never'})",
            "test_loaded_value_is_free",
        ),
        (
            "def save(self, data, path, /, **o): super().save(data, path)",
            "test_existing_may_stay",
        ),
        (
            "def delete(self, path, /, *, recursive=False): super().delete(path, recursive=True)",
            "test_full_folder_stays",
        ),
        (
            "def list_dir(self, path, /): return sorted(super().list_dir(path), reverse=True)",
            "test_lists_are_natural",
        ),
        (
            "def save(self, data, path, /, **o): super().save(np.asarray(data), path, **o)",
            "test_unit_is_never_lost",
        ),
        (
            "def load_image(self, path, /, **o): return super().load_image(path).renamed('')",
            "test_images_are_whole_or_refused",
        ),
        ("def open(self, path, /): raise self._cannot('open')", "test_capabilities_are_true"),
    ],
)
def test_fault_is_found(pytester_file, fault, caught_by):
    printed = pytester_file(FAULTY.format(fault=fault))
    assert f"::{caught_by}" in printed, printed[-2000:]


FAULTY_FORMAT = """
from polystore_core import Format
from polystore_core.errors import UnsupportedDataError
from polystore_testing import FormatTests

class Text(Format):
    {fault}
    def save(self, value, file, /):
        if not isinstance(value, str):
            raise UnsupportedDataError("no text")
        file.write(b"<" + value.encode() + b">")
    def load(self, file, /):
        content = file.read()
        if content[:1] + content[-1:] != b"<>" or len(content) < 2:
            raise ValueError("no text")
        return content[1:-1].decode()

class TestText(FormatTests):
    format_ = Text()
    values = ["a", "text"]
    refused = [5]
"""


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("name = 'text'", ""),
        ("", "needs a class attribute name"),
        ("name = 5", "needs a class attribute name"),
        ("name = 'text'; decode_errors = ValueError", "a tuple of exception classes"),
        ("name = 'text'\n    def __init__(self, level=1, /, *more, key): ...", "needs key"),
    ],
)
def test_fault_of_format_is_found(pytester_file, fault, said):
    text = FAULTY_FORMAT.format(fault=fault)
    if "key" in fault:
        text = text.replace("Text()", "Text(key=1)")
    printed = pytester_file(text, "-k", "not never_crash")  # this test takes seconds
    assert ("::test_registry_accepts_class" in printed) == bool(said), printed[-2000:]
    assert said in printed


UNIT_FORMAT = """
from polystore_core import Format
from polystore_core.errors import UnsupportedDataError
from polystore_testing import FormatTests

class Measure(Format):
    name = "measure"
    reads_siblings = True
    def save(self, value, file, /):
        if not isinstance(value, str) or not value.endswith(" um"):
            raise UnsupportedDataError("not in um")
        file.write(b"<" + value[:-3].encode() + b">")
    def load(self, file, {opener}/):
        content = file.read()
        if content[:1] + content[-1:] != b"<>" or len(content) < 2:
            raise ValueError("no measure")
        with opener.sibling({sibling!r})() as unit:
            return content[1:-1].decode() + " " + unit.read().decode()
    def info(self, file, opener=None, /):
        return {{"metadata": {{"value": self.load(file, opener)}}}}

class TestMeasure(FormatTests):
    format_ = Measure()
    values = ["5 um", "0.25 um"]
    refused = [5, "5 mm"]
    siblings = {{"units/u.txt": b"um"}}
"""


@pytest.mark.parametrize(
    ("opener", "sibling", "said"),
    [
        ("opener=None, ", "units/u.txt", ""),
        ("", "units/u.txt", "takes 2 positional arguments but 3 were given"),
        ("opener=None, ", "u.txt", "NotFoundError: 'u.txt' does not exist"),
    ],
)
def test_format_of_two_files_passes(pytester_file, opener, sibling, said):
    text = UNIT_FORMAT.format(opener=opener, sibling=sibling)
    printed = pytester_file(text, "-k", "not never_crash")
    assert ("::test_values_come_back" in printed) == bool(said), printed[-2000:]
    assert said in printed


FAULTY_STREAM = """
import numpy as np
import pytest
from polystore_core import BackendRegistry, DataSink, NameTemplate, to_numpy
from polystore_core.errors import InvalidOptionError, ReceiverUnavailableError, UnsupportedDataError
from polystore_testing import NAME, StreamReceiver, StreamTests

class Shelf(StreamReceiver):
    def __init__(self):
        self.values = {{}}
    def load(self, path):
        return self.values.get(path)
    def kill(self):
        self.values = None
    def restart(self):
        self.values = {{}}

shelves = []

class Honest(DataSink):
    def save(self, data, path, /, *, wait="received", names=None):
        if wait not in ("received", "shown", None) or wait is True:
            raise InvalidOptionError("wait", wait, "another")
        if names:
            NameTemplate(names).parse(path)
        self.send(self.taken(data, str(path)), str(path))
    def taken(self, data, path):
        try:
            value = to_numpy(data)
        except UnsupportedDataError as error:
            error.backend, error.path = self.name, path
            raise
        if value.dtype.kind not in "biuf" or not value.size or not value.ndim:
            raise UnsupportedDataError("no image", path=path, backend=self.name)
        if value.dtype == np.longdouble:
            raise UnsupportedDataError("too long", path=path, backend=self.name)
        return value.copy()
    def send(self, value, path):
        if shelves[-1].values is None:
            raise ReceiverUnavailableError(self.name, "shelf", "fell down")
        shelves[-1].values[path] = value

class Faulty(Honest):
    _backend_type = "faulty"
    {fault}

class TestFaulty(StreamTests):
    @pytest.fixture
    def registry(self):
        registry = BackendRegistry()
        registry.add(NAME, "faulty")
        return registry
    @pytest.fixture
    def receiver(self):
        shelves.append(Shelf())
        return shelves[-1]
"""


@pytest.mark.parametrize(
    ("fault", "caught_by"),
    [
        ("def taken(self, data, path): return to_numpy(data)", "test_sent_value_is_free"),
        (
            "def taken(self, data, path): return np.array(data)",
            "test_refused_value_never_travels",
        ),
        (
            "def send(self, value, path): shelves[-1].values.setdefault(path, value)",
            "test_last_save_wins",
        ),
        (
            "def send(self, *sent): shelves[-1].values is None or super().send(*sent)",
            "test_killed_receiver_is_error",
        ),
        (
            "def save_batch(self, data, paths, /, **o): [self.save(*x) for x in zip(data, paths)]",
            "test_series_stops_at_failure",
        ),
    ],
)
def test_fault_of_stream_is_found(pytester_file, fault, caught_by):
    unharmed = "test_paths_stay_apart"
    text = FAULTY_STREAM.format(fault=fault)
    printed = pytester_file(text, "-k", f"{caught_by} or {unharmed}")
    assert f"::{caught_by}" in printed, printed[-2000:]
    assert f"::{unharmed}" not in printed, printed[-2000:]


def test_model_finds_divergence():
    from polystore_memory.backend import MemoryBackend

    class Forgetful(MemoryBackend):
        _backend_type = "forgetful"

        def ensure_directory(self, path, /):
            if not str(path).startswith("f"):
                super().ensure_directory(path)

    def store():
        registry = BackendRegistry()
        registry.add(NAME, "forgetful", root="top")
        return Bound(FileManager(registry))

    with pytest.raises(AssertionError):
        check_against_model(store)


def test_small_backend_passes_as_a_sink():
    """Two methods are enough for the tests of a sink."""

    class Shelf(StorageBackend):
        _backend_type = "kit_shelf"

        def save(self, data, path, /):
            self.kept = data

        def load(self, path, /):
            return self.kept

    registry = BackendRegistry()
    registry.add(NAME, "kit_shelf")
    store = Bound(FileManager(registry))
    SinkTests().test_path_may_be_pathlike(store)
    SinkTests().test_lengths_must_match(store)
    assert set(store.instance.capabilities) == {
        "copy",
        "load",
        "load_batch",
        "save",
        "save_batch",
    }


def test_storage_covers_both_directions():
    names = {name for name in dir(StorageTests) if name.startswith("test_")}
    assert {"test_save_returns_nothing", "test_load_gives_equal"} <= names
