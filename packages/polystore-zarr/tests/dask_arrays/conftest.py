"""Fixtures for the schedulers of Dask and for a cluster."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from . import values
from .values import MIB

if TYPE_CHECKING:
    from collections.abc import Iterator

LOCAL = ("synchronous", "threads", "processes")


@pytest.fixture(scope="module", autouse=True)
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Let Dask and the clusters write their temporary files into a folder of pytest."""
    dask = pytest.importorskip("dask")
    folder = str(tmp_path_factory.mktemp("dask"))
    with dask.config.set(temporary_directory=folder), pytest.MonkeyPatch.context() as patch:
        patch.setenv("DASK_TEMPORARY_DIRECTORY", folder)
        yield


@pytest.fixture(scope="module")
def client(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Any]:
    cloudpickle = pytest.importorskip("cloudpickle")
    distributed = pytest.importorskip("distributed")
    with (
        distributed.LocalCluster(
            n_workers=2,
            threads_per_worker=1,
            memory_limit=400 * MIB,
            dashboard_address=":0",
            local_directory=str(tmp_path_factory.mktemp("workers")),
        ) as cluster,
        distributed.Client(cluster, set_as_default=False) as found,
    ):
        # The workers cannot import the modules of the tests, so these are pickled by value.
        cloudpickle.register_pickle_by_value(request.module)
        cloudpickle.register_pickle_by_value(values)
        yield found


@pytest.fixture(params=[*LOCAL, "distributed"])
def scheduler(request: pytest.FixtureRequest) -> Iterator[str]:
    """Run the test with each scheduler, chosen in the way that users of Dask choose it."""
    if request.param == "distributed":
        with request.getfixturevalue("client").as_current():
            yield request.param
    else:
        dask = pytest.importorskip("dask")
        with dask.config.set(scheduler=request.param, num_workers=2):
            yield request.param
