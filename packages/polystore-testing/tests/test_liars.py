"""A store that breaks a claim fails the test of that claim."""

import liars
import pytest
from objectstore import ObjectStore

from polystore_core import BackendRegistry, FileBackend, FileManager, StoreFeatures
from polystore_core.errors import UnsupportedOperationError
from polystore_testing import NAME, Bound, StorageTests, StoreTests

pytestmark = pytest.mark.slow

LIES = [
    (liars.IgnoresCondition, "put_may_refuse", {}, "DID NOT RAISE FileExistsError"),
    (liars.IgnoresCondition, "sink_may_refuse", {"when": "before"}, "DID NOT RAISE FileExists"),
    (liars.ChecksThenPuts, "one_writer_creates", {}, "threads: .* have all made one key"),
    (liars.ChecksUnderThreadLock, "one_writer_creates", {}, "processes: .* have all made one"),
    (liars.ChecksVersionThenPuts, "no_increment_is_lost", {}, r"assert \d+ == \(3 \* 12\)"),
    (liars.IgnoresVersions, "stale_version_conflicts", {}, "DID NOT RAISE VersionConflict"),
    (liars.MakesMissingVersions, "missing_value_conflicts", {}, "DID NOT RAISE VersionConf"),
    (liars.SizeIsVersion, "version_follows_content", {}, "assert '6' != '6'"),
    (liars.WritesHalf, "readers_see_whole_values", {}, "threads"),
    (liars.DiesHalfway, "killed_writer_leaves_whole_values", {"way": "put"}, "half of a value"),
    (
        liars.DiesHalfway,
        "killed_writer_leaves_whole_values",
        {"way": "sink"},
        "half of a value",
    ),
    (liars.ForgetsNewKeys, "scan_sees_changes", {"reopened": None}, r"\['p/a'\] == \[\]"),
    (liars.TakesPrefixes, "scan_takes_whole_segments", {}, "3 more items"),
    (liars.ReadsNoSlices, "read_is_slice", {}, r"\(-12, -11\)"),
    (liars.MissesDeleted, "deleted_value_is_gone", {}, "No such file"),
    (liars.KnowsFolders, "folder_of_a_value", {}, "DID NOT RAISE FileNotFoundError"),
    (liars.ClaimsRenames, "claims_are_inherited", {}, "features.renames"),
    (liars.PutsFirst, "rename_is_one_step", {"condition": "error"}, "both keys had"),
    (liars.DeletesFirst, "rename_is_one_step", {"condition": "replace"}, "neither key had"),
    (liars.LocksNothing, "waiting_for_lock_ends", {}, "_is_locked"),
    (liars.LocksForEver, "lock_ends_with_process", {}, "File exists"),
    (liars.GrowsTrees, "tree_appears_whole", {}, r"\['p/tree/a', 'p/tree/g/b'\] == \[\]"),
    (liars.DeletesTreeFirst, "readers_see_whole_trees", {}, "a part of the tree is missing"),
    (liars.FillsOldTree, "readers_see_whole_trees", {}, "has parts of another"),
    (liars.WritesStraight, "new_key_appears_at_commit", {"last": "write"}, "not True"),
    (liars.WritesStraight, "discard_leaves_nothing", {"last": "write"}, r"\['old', 'p/a'\]"),
]


@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    ("liar", "law", "given", "said"), LIES, ids=[f"{lie[0].__name__}-{lie[1]}" for lie in LIES]
)
def test_liar_is_found(tmp_path, liar, law, given, said):
    store = liar(tmp_path / "bucket")
    given = {name: store if name == "reopened" else value for name, value in given.items()}
    with pytest.raises((AssertionError, pytest.fail.Exception, OSError), match=said):
        getattr(StoreTests(), f"test_{law}")(bytes_store=store, **given)


# ── backends with wrong refusals ──────────────────────────────────────────────────────────


def bind(backend):
    registry = BackendRegistry()
    registry.add(NAME, backend)
    return Bound(FileManager(registry))


class CopiesAnyway(FileBackend):
    def move(self, source, target, /, *, if_exists="replace"):
        self.copy(source, target)
        super().move(source, target)


class Mute(FileBackend):
    """Refuses an operation without a reason."""

    def _cannot(self, operation):
        return UnsupportedOperationError(self.name, operation)

    def ensure_directory(self, path, /):
        raise self._cannot("ensure_directory")


class Generous(FileBackend):
    """Makes folders in a store that does not claim them."""

    def ensure_directory(self, path, /):
        self.store.put(self._key(f"{path}/.keep"), b"")


class KeepsAll(ObjectStore):
    features = StoreFeatures(create_only="all", delete="none", versions="all")


@pytest.mark.parametrize(
    ("backend", "store", "test", "said"),
    [
        (CopiesAnyway, KeepsAll, "listing_follows_changes", "move was refused after a change"),
        (Mute, ObjectStore, "empty_folder_goes", "the store is not named"),
        (Generous, ObjectStore, "empty_folder_goes", "not empty"),
    ],
)
def test_wrong_refusal_is_found(tmp_path, backend, store, test, said):
    bound = bind(backend(store(tmp_path / "bucket")))
    with pytest.raises((AssertionError, OSError), match=said):
        getattr(StorageTests(), f"test_{test}")(store=bound)
