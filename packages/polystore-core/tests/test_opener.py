import io
import pickle

import pytest

from polystore_core import Opener
from polystore_core.errors import AccessDeniedError, NotFoundError, UnsupportedFileError

FILES = {"f/a": b"first", "f/g/b": b"second", "./~": b"third", "/top": b"fourth"}


def open_path(path):
    if path == "f/secret":
        raise PermissionError(13, "Permission denied", "/the/place/on/this/machine")
    if path not in FILES:
        raise FileNotFoundError(2, "No such file or directory")
    return io.BytesIO(FILES[path])


@pytest.mark.parametrize(
    ("path", "names", "content"),
    [
        ("f/a", [], b"first"),
        ("f/other", ["a"], b"first"),
        ("f/a", ["g/b"], b"second"),
        ("f/a", ["g/other", "b"], b"second"),
        ("other", ["f/a"], b"first"),
        ("other", ["./~"], b"third"),
        ("/other", ["top"], b"fourth"),
    ],
)
def test_opener_opens_repeatedly(path, names, content):
    opener = Opener(open_path, path, "store")
    for name in names:
        opener = opener.sibling(name)
    for _ in range(2):
        with pickle.loads(pickle.dumps(opener))() as file:
            assert file.read() == content


def test_errors_have_path_of_opener():
    opener = Opener(open_path, "f/a", "store")
    with pytest.raises(NotFoundError, match=r"backend 'store': 'f/missing' does not exist"):
        opener.sibling("missing")()
    with pytest.raises(AccessDeniedError, match=r"'f/secret'.*Permission denied"):
        opener.sibling("secret")()


@pytest.mark.parametrize("name", ["..", "g/../../a", "/f/a", "C:\\a", "s3://b/a", "", "\0", 5])
def test_names_elsewhere_are_refused(name):
    with pytest.raises(UnsupportedFileError, match=r"'f/a' is whole, but .* refers to"):
        Opener(open_path, "f/a", "store").sibling(name)
