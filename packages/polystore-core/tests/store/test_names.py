"""Names in stores: supported operations, refused operations, and unchanged values."""

import pytest

from polystore_core import StoreFeatures
from polystore_core.errors import (
    AlreadyExistsError,
    DirectoryNotEmptyError,
    InvalidOptionError,
    NotAFileError,
    NotFoundError,
    UnsupportedOperationError,
)

from .stores import CreateOnly, Flat, Full, Overwriting, ReadOnly, Versioned

A, B = b"[1]", b"[2]"
ALL = pytest.mark.parametrize("kind", [Flat, Full, ReadOnly, CreateOnly, Overwriting])
BOTH = pytest.mark.parametrize("kind", [Flat, Full])

CALLS = {
    "load": lambda x: x.load("f/a.json"),
    "load_batch": lambda x: x.load_batch(["f/a.json"]),
    "open": lambda x: x.open("f/a.npy"),
    "info": lambda x: x.info("f/a.json"),
    "exists": lambda x: x.exists("f/a.json"),
    "is_file": lambda x: x.is_file("f/a.json"),
    "is_dir": lambda x: x.is_dir("f/a.json"),
    "is_symlink": lambda x: x.is_symlink("f/a.json"),
    "list_dir": lambda x: x.list_dir("f"),
    "list_files": lambda x: x.list_files("f"),
    "list_image_files": lambda x: x.list_image_files("f"),
    "find_file_recursive": lambda x: x.find_file_recursive("f", "a.json"),
    "collect_dirs_and_files": lambda x: x.collect_dirs_and_files("f"),
    "save": lambda x: x.save([3], "n.json"),
    "save_batch": lambda x: x.save_batch([[3]], ["n.json"]),
    "create": lambda x: x.create("n.npy", shape=(1,), dtype="u1"),
    "ensure_directory": lambda x: x.ensure_directory("n"),
    "delete": lambda x: x.delete("f/a.json"),
    "delete_all": lambda x: x.delete_all("f"),
    "copy": lambda x: x.copy("f/a.json", "n.json"),
    "move": lambda x: x.move("f/a.json", "n.json"),
    "create_symlink": lambda x: x.create_symlink("f/a.json", "n.json"),
    "mirror_directory_with_symlinks": lambda x: x.mirror_directory_with_symlinks("f", "n"),
}


class ReadOnlyFull(Full):
    """Has folders and links, but cannot make them."""

    features = StoreFeatures(
        replace="none", create_only="none", delete="none", nested_values=False,
        folders="thread", links="thread", renames="thread", trees="thread",
    )  # fmt: skip


def make_filled(make_backend, kind):
    import io

    import numpy as np

    npy = io.BytesIO()
    np.save(npy, np.zeros(3))
    values = {"f/a.json": A, "f/b.json": B, "f/a.npy": npy.getvalue()}
    return make_backend(kind, **({"f": None} if issubclass(kind, Full) else {}), **values)


@pytest.mark.parametrize("operation", CALLS)
@pytest.mark.parametrize("kind", [Flat, Full, ReadOnly, CreateOnly, Overwriting, ReadOnlyFull])
def test_capabilities_are_true(make_backend, kind, operation):
    backend = make_filled(make_backend, kind)
    before = dict(backend.store.values)
    if operation in backend.capabilities:
        CALLS[operation](backend)
        return
    with pytest.raises(UnsupportedOperationError, match=r"backend 'x' does not support \w+"):
        CALLS[operation](backend)
    assert backend.store.values == before


def test_every_operation_is_called():
    from polystore_core import StorageBackend

    operations = {n for cls in StorageBackend.__mro__ for n in vars(cls).get("_operations", ())}
    assert operations == set(CALLS)


@pytest.mark.parametrize(
    ("kind", "lacking"),
    [
        (Full, set()),
        (Flat, {"ensure_directory", "create_symlink"}),
        (CreateOnly, {"ensure_directory", "create_symlink", "delete", "delete_all", "move"}),
        (Overwriting, {"ensure_directory", "create_symlink"}),
    ],
)
def test_capabilities(make_backend, kind, lacking):
    if lacking:
        lacking = lacking | {"mirror_directory_with_symlinks"}
    assert set(CALLS) - set(make_backend(kind).capabilities.operations) == lacking | {"create"}


@pytest.mark.parametrize(
    ("kind", "call", "text"),
    [
        (Flat, lambda x: x.ensure_directory("n"), r"\w+: .*<Flat .*> has features\.folders"),
        (
            Flat,
            lambda x: x.create_symlink("f/a.json", "n"),
            r"\w+: .*<Flat .*> has features\.links",
        ),
        (
            Flat,
            lambda x: x.copy("f", "n"),
            r"copying a folder: .*<Flat .*> has features\.trees",
        ),
        (
            Flat,
            lambda x: x.move("f", "n"),
            r"moving a folder: .*<Flat .*> has features\.renames",
        ),
        (
            ReadOnly,
            CALLS["save"],
            r"save: .*<ReadOnly .*> has features\.create_only = \"none\"",
        ),
        (ReadOnly, CALLS["copy"], r"copy: .*<ReadOnly .*> has features\.create_only"),
        (CreateOnly, CALLS["delete"], r"delete: .*<CreateOnly .*> has features\.delete"),
        (CreateOnly, CALLS["move"], r"move: .*<CreateOnly .*> has features\.delete"),
        (
            CreateOnly,
            lambda x: x.save([3], "f/a.json"),
            r"replacing a value: .*<CreateOnly .*> has features\.replace = \"none\"",
        ),
        (
            CreateOnly,
            lambda x: x.copy("f/a.json", "f/b.json"),
            r"replacing a value: .*<CreateOnly .*> has features\.replace = \"none\"",
        ),
        (
            Overwriting,
            lambda x: x.save([3], "n.json", if_exists="error"),
            r"if_exists='error': .*<Overwriting .*> has features\.create_only = \"none\"",
        ),
        (
            Overwriting,
            lambda x: x.move("f/a.json", "f/b.json", if_exists="skip"),
            r"if_exists='error': .*features\.create_only",
        ),
    ],
)
def test_refusals_name_store_and_feature(make_backend, kind, call, text):
    backend = make_filled(make_backend, kind)
    before = dict(backend.store.values)
    with pytest.raises(
        UnsupportedOperationError, match=r"backend 'x' does not support " + text
    ):
        call(backend)
    assert backend.store.values == before


class Unreplacing(Full):
    """Renames only to free names."""

    features = StoreFeatures(
        replace="none", create_only="thread", nested_values=False, renames="thread"
    )


class Unconditional(Full):
    features = StoreFeatures(create_only="none", nested_values=False, renames="thread")


def test_rename_gets_only_claimed_modes(make_backend):
    backend = make_filled(make_backend, Unreplacing)
    with pytest.raises(
        UnsupportedOperationError, match=r"replacing a value: .*features\.replace"
    ):
        backend.move("f/a.json", "f/b.json")
    with pytest.raises(AlreadyExistsError, match=r"'f/b\.json': cannot move to: File exists"):
        backend.move("f/a.json", "f/b.json", if_exists="error")
    backend.move("f/a.json", "f/b.json", if_exists="skip")
    assert (backend.load("f/a.json"), backend.load("f/b.json")) == ([1], [2])
    backend.move("f/a.json", "n.json")
    assert backend.load("n.json") == [1]
    backend = make_filled(make_backend, Unconditional)
    with pytest.raises(UnsupportedOperationError, match=r"'error'.*features\.create_only"):
        backend.move("f/a.json", "f/b.json", if_exists="error")
    backend.move("f/a.json", "f/b.json")
    assert backend.load("f/b.json") == [1]


# ── if_exists ────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("kind", [Flat, Full, CreateOnly, Versioned])
def test_save_if_exists(make_backend, kind):
    backend = make_filled(make_backend, kind)
    with pytest.raises(AlreadyExistsError, match=r"'f//a\.json': cannot save: File exists"):
        backend.save([3], "f//a.json", if_exists="error")
    backend.save([3], "f//a.json", if_exists="skip")
    assert backend.load("f/a.json") == [1]
    backend.save([3], "./~/a.json", if_exists="error")
    backend.save([4], "./~/a.json", if_exists="skip")
    assert backend.load("./~/a.json") == [3]


class Late(Flat):
    """Another writer saves a value just before ours arrives."""

    def put(self, key, content, /, *, if_exists="replace"):
        self.values.setdefault(key, B)
        super().put(key, content, if_exists=if_exists)


class LateCreateOnly(Late):
    features = CreateOnly.features


def test_faster_writer_wins(make_backend):
    backend = make_backend(Late)
    with pytest.raises(AlreadyExistsError, match=r"backend 'x': 'a\.json': cannot save"):
        backend.save([1], "a.json", if_exists="error")
    backend.save([1], "b.json", if_exists="skip")
    backend.save([1], "c.json")
    assert [backend.load(f"{name}.json") for name in "abc"] == [[2], [2], [1]]
    with pytest.raises(AlreadyExistsError, match=r"'d\.json': cannot copy to"):
        backend.copy("c.json", "d.json", if_exists="error")
    backend.copy("c.json", "e.json", if_exists="skip")
    backend.move("c.json", "g.json", if_exists="skip")
    assert [backend.load(f"{name}.json") for name in "ceg"] == [[1], [2], [2]]
    backend = make_backend(LateCreateOnly)
    with pytest.raises(
        UnsupportedOperationError, match=r"replacing a value.*features\.replace"
    ):
        backend.save([1], "a.json")
    assert backend.load("a.json") == [2]


@BOTH
@pytest.mark.parametrize("operation", ["copy", "move"])
def test_copy_and_move_if_exists(make_backend, kind, operation):
    backend = make_filled(make_backend, kind)
    call = getattr(backend, operation)
    with pytest.raises(AlreadyExistsError, match=r"'f/b\.json': cannot \w+ to: File exists"):
        call("f/a.json", "f/b.json", if_exists="error")
    call("f/a.json", "f/b.json", if_exists="skip")
    assert (backend.load("f/a.json"), backend.load("f/b.json")) == ([1], [2])
    call("f//a.json", "./f/b.json")
    assert backend.load("f/b.json") == [1]
    assert backend.exists("f/a.json") == (operation == "copy")
    with pytest.raises(
        NotFoundError, match=rf"'f/c\.json' does not exist \(cannot {operation}\)"
    ):
        call("f/c.json", "f/b.json", if_exists="skip")
    with pytest.raises(InvalidOptionError, match=r"if_exists='no' is not valid"):
        call("f/b.json", "f/d.json", if_exists="no")


@BOTH
@pytest.mark.parametrize("if_exists", ["replace", "skip", "error"])
def test_move_to_itself_keeps_the_value(make_backend, kind, if_exists):
    backend = make_filled(make_backend, kind)
    backend.move("f/a.json", "./f//a.json", if_exists=if_exists)
    assert backend.load("f/a.json") == [1]


@BOTH
def test_copy_converts(make_backend, kind):
    backend = make_backend(kind)
    backend.save([[1, 2], [3, 4]], "a.json")
    with pytest.raises(InvalidOptionError, match=r"expected the suffix \.json"):
        backend.copy("a.json", "a.xyz")
    import numpy as np

    backend.save(np.ones((2, 2), np.uint8), "a.npy")
    backend.move("a.npy", "f/a.tif")
    assert backend.load("f/a.tif").sum() == 4
    assert not backend.exists("a.npy")


# ── delete ───────────────────────────────────────────────────────────────────────────────


@BOTH
def test_delete(make_backend, kind):
    backend = make_filled(make_backend, kind)
    with pytest.raises(DirectoryNotEmptyError, match=r"'f': cannot delete"):
        backend.delete("f")
    backend.delete("./f//a.json")
    with pytest.raises(NotFoundError, match=r"'f/a\.json' does not exist \(cannot delete\)"):
        backend.delete("f/a.json")
    backend.save([1], "ff.json")
    backend.delete("f", recursive=True)
    assert backend.list_dir(".") == ["ff.json"]
    with pytest.raises(NotFoundError, match=r"'f' does not exist"):
        backend.delete_all("f")
    for top in (".", "./", "././."):
        with pytest.raises(InvalidOptionError, match=r"a path below the root"):
            backend.delete(top, recursive=True)
    assert backend.list_dir(".") == ["ff.json"]


# ── folders, links ───────────────────────────────────────────────────────────────────────


def test_folders(make_backend):
    backend = make_filled(make_backend, Full)
    backend.ensure_directory("e/g/")
    backend.ensure_directory("e")
    assert (backend.list_dir("e"), backend.list_dir("e/g")) == (["g"], [])
    backend.delete("e/g")
    backend.copy("f", "c/d")
    assert backend.list_dir("c/d") == ["a.json", "a.npy", "b.json"]
    backend.move("c", "m")
    assert backend.load("m/d/a.json") == [1]
    for call in (backend.copy, backend.move):
        for if_exists in ("replace", "skip", "error"):
            with pytest.raises(AlreadyExistsError):
                call("f", "m", if_exists=if_exists)
    with pytest.raises(InvalidOptionError, match=r"target='f/in' is not valid"):
        backend.copy("f", "f/in")
    backend.ensure_directory("e.json")
    for call in (backend.copy, backend.move):
        with pytest.raises(NotAFileError, match=r"'e\.json'"):
            call("f/a.json", "e.json")
    backend.delete("e.json")
    assert backend.list_dir(".") == ["e", "f", "m"]


def test_copy_of_a_folder_is_whole_or_nothing(make_backend):
    backend = make_filled(make_backend, Full)
    backend.store.values["f/z.json"] = ("to", "nowhere")
    backend.copy("f", "g")
    assert backend.is_symlink("g/z.json")

    class Unreadable(Full):
        def open(self, key, /, *, whole=False):
            if key == "f/b.json":
                raise PermissionError("not yours")
            return super().open(key, whole=whole)

    backend = make_filled(make_backend, Unreadable)
    before = dict(backend.store.values)
    with pytest.raises(PermissionError, match=r"'f/b\.json': cannot copy: .*not yours"):
        backend.copy("f", "g")
    assert backend.store.values == before


def test_links(make_backend):
    backend = make_filled(make_backend, Full)
    backend.create_symlink("f/a.json", "l.json")
    assert backend.is_symlink("l.json")
    assert backend.is_file("l.json")
    assert backend.info("l.json").target == "f/a.json"
    assert backend.load("l.json") == [1]
    with pytest.raises(AlreadyExistsError, match=r"'l\.json': cannot link: File exists"):
        backend.create_symlink("f/b.json", "l.json")
    with pytest.raises(NotFoundError, match=r"'f/z\.json' does not exist \(cannot link to\)"):
        backend.create_symlink("f/z.json", "k.json")
    backend.create_symlink("f/b.json", "l.json", overwrite=True)
    backend.delete("f/b.json")
    assert (backend.exists("l.json"), backend.is_symlink("l.json")) == (False, True)
    assert backend.info("l.json").kind == "symlink"
    backend.delete("l.json")
    assert backend.list_dir(".") == ["f"]
    backend.mirror_directory_with_symlinks("f", "m")
    assert backend.load("m/a.json") == [1]


class UnclaimedLinks(Full):
    features = StoreFeatures(nested_values=False, folders="thread")

    def read_link(self, key, /):
        raise AssertionError("links are not claimed")

    def stat(self, key, /):
        found = self.values.get(self._follow(key))
        if key and key not in self.values:
            raise FileNotFoundError(key)
        from polystore_core import Stat

        return Stat(key, "directory" if found is None else "file", None if found is None else 1)


def test_unclaimed_features_are_not_used(make_backend):
    backend = make_filled(make_backend, UnclaimedLinks)
    backend.delete("f/a.json")
    assert not backend.is_symlink("f/b.json")
    with pytest.raises(UnsupportedOperationError, match=r"features\.links = \"none\""):
        backend.create_symlink("f/b.json", "l.json")
