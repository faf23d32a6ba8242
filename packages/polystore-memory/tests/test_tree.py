"""Folders of any depth are copied, moved, deleted and listed by any number of threads."""

import sys
import threading

import pytest

from polystore_core import BackendRegistry
from polystore_core.errors import AlreadyExistsError, InvalidOptionError, NotFoundError

DEPTH = 3000  # Python allows only about 1,000 nested calls.
DEEP = "/".join(["d"] * DEPTH)


@pytest.fixture
def memory():
    return BackendRegistry()["memory"]


@pytest.fixture
def tree(memory):
    memory.save(1, "f/a")
    memory.save(2, "f/in/b")
    memory.ensure_directory("f/empty")
    memory.create_symlink("f/in", "f/link")
    memory.save(3, "f2/a")
    memory.save(4, "f.a")
    return memory


INSIDE = {"a", "in", "in/b", "empty", "link"}


def list_below(memory, folder):
    found = memory.collect_dirs_and_files(folder)
    return {path.removeprefix(f"{folder}/") for paths in found for path in paths}


def test_copy_is_complete_and_independent(tree):
    tree.copy("f", "x/y")
    assert list_below(tree, "x/y") == list_below(tree, "f") == INSIDE
    tree.save(5, "x/y/a")
    tree.save(6, "x/y/new")
    tree.delete("x/y/empty")
    tree.delete_all("x/y/in")
    assert (tree.load("f/a"), list_below(tree, "f")) == (1, INSIDE)
    assert tree.load("f/link/b") == 2


@pytest.mark.parametrize("change", ["move", "delete"])
def test_folder_moves_and_deletes_with_content(tree, change):
    if change == "move":
        tree.move("f", "x/y")
        assert list_below(tree, "x/y") == INSIDE
        assert (tree.load("x/y/a"), tree.load("x/y/in/b")) == (1, 2)
    else:
        tree.delete_all("f")
    assert not any(map(tree.exists, ["f", "f/a", "f/in", "f/in/b", "f/empty"]))
    assert not tree.is_symlink("f/link")
    assert (tree.load("f2/a"), tree.load("f.a")) == (3, 4)
    tree.save(7, "f/new")
    assert list_below(tree, "f") == {"new"}


def test_delete_keeps_folders_above(memory):
    memory.save(1, "../../a")
    memory.save(2, "../b")
    memory.delete_all("..")
    assert memory.load("../../a") == 1
    assert not memory.exists("../b")


@pytest.mark.parametrize("operation", ["copy", "move"])
def test_folder_never_replaces_a_link(tree, operation):
    """As on disk, this includes a link that leads nowhere."""
    tree.create_symlink("f2/a", "to_file")
    tree.create_symlink("f2", "to_folder")
    tree.save(5, "gone")
    tree.create_symlink("gone", "to_nothing")
    tree.delete("gone")
    for link in ("to_file", "to_folder", "to_nothing"):
        with pytest.raises(AlreadyExistsError, match=f"'{link}'"):
            getattr(tree, operation)("f", link)
        assert tree.is_symlink(link)
    assert list_below(tree, "f") == INSIDE


@pytest.mark.parametrize("operation", ["copy", "move"])
@pytest.mark.parametrize("source", ["f", "f/a"])
def test_unknown_if_exists_is_refused(tree, operation, source):
    with pytest.raises(InvalidOptionError, match="if_exists='maybe'"):
        getattr(tree, operation)(source, "x", if_exists="maybe")
    assert list_below(tree, "f") == INSIDE


def test_links_with_names_that_shells_expand(memory):
    memory.save(1, "f/a")
    memory.create_symlink("f", "./~")
    assert memory.collect_dirs_and_files(".") == (["./~", "f"], ["f/a"])


@pytest.mark.parametrize("top", ["", "/", "../"])
def test_deep_folders(memory, top):
    path = f"{top}{DEEP}/a.npy"
    memory.save(1, path)
    memory.ensure_directory(f"{top}{DEEP}/more")
    assert memory.load(f"{top}./{DEEP}/../d/a.npy") == 1
    assert memory.list_files(f"{top}d", recursive=True) == [path]
    assert memory.find_file_recursive(f"{top}d", "a.npy") == path
    folders, files = memory.collect_dirs_and_files(f"{top}d")
    assert (len(folders), files) == (DEPTH, [path])
    memory.copy(f"{top}d", f"{top}copy")
    memory.move(f"{top}copy", f"{top}moved")
    assert memory.load(path.replace("d", "moved", 1)) == 1
    memory.delete_all(f"{top}moved")
    memory.delete_all(f"{top}d")
    assert memory.list_dir(top or ".") == []


@pytest.fixture
def eager_threads():
    """Let another thread run after a microsecond instead of 5 milliseconds."""
    usual = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(usual)


@pytest.mark.timeout(60)
@pytest.mark.usefixtures("eager_threads")
def test_folder_is_at_one_of_two_names(tree):
    """While a thread moves a folder between two names, others always see it whole at one name."""
    for i in range(50):
        tree.save(i, f"f/{i}")
    tree.delete_all("f2")
    tree.delete("f.a")
    done = threading.Event()
    seen = []

    def watch():
        while not done.is_set():
            seen.append(tree.list_dir("."))
            for name in ("f", "g"):
                try:
                    seen.append([len(tree.list_dir(name))])
                except NotFoundError:
                    continue

    watchers = [threading.Thread(target=watch) for _ in range(2)]
    for watcher in watchers:
        watcher.start()
    for _ in range(300):
        tree.move("f", "g")
        tree.move("g", "f")
    done.set()
    for watcher in watchers:
        watcher.join()
    assert {tuple(names) for names in seen} <= {("f",), ("g",), (54,)}


def test_link_does_not_replace_its_own_value(memory):
    memory.save(1, "a")
    memory.create_symlink("a", "l")
    with pytest.raises(InvalidOptionError, match="to which 'l' leads"):
        memory.move("l", "a")
    assert memory.load("a") == memory.load("l") == 1
    memory.save(2, "b")
    memory.move("l", "b")
    assert memory.load("a") == memory.load("b") == 1
