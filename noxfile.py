"""Every job of the project: ``nox -s demo``, ``nox -s tests``; ``nox --list`` for the rest."""

from __future__ import annotations

import os
import shutil
import sys
import tomllib
from itertools import takewhile
from pathlib import Path

import nox

nox.options.sessions = ["tests", "lint", "types", "wheels"]

ROOT = Path(__file__).parent
# By the words that sessions take: core is packages/polystore-core.
PACKAGES = {
    name.removeprefix("polystore-"): f"packages/{name}"
    for name in tomllib.loads((ROOT / "packages.toml").read_text("utf-8"))["packages"]
}
CHECKED = [
    "tools",
    "generate.py",
    "noxfile.py",
    "conftest.py",
    "examples/pipelines",
    "examples/polystore-gallery/src",
    "examples/polystore-nrrd/src",
    "examples/polystore-sqlite/src",
    "packages/polystore-fiji/build_receiver.py",
]
# Tools whose findings change between releases; everything else is taken as it comes.
LINT = ("ruff==0.17.5", "import-linter==2.16")
TYPES = ("mypy==2.4.1",)
SITE = ("zensical==0.0.73", "mkdocstrings-python", LINT[0])  # ruff formats signatures
# hatchling writes the bytes of wheels: with another version, SHA256SUMS of a commit differ.
RELEASE = ("hatchling==1.33.0", "twine==7.0.0", "cyclonedx-bom==7.5.0")
TEST_TOOLS = (
    "pytest",
    "pytest-xdist",
    "pytest-timeout",
    "hypothesis",
    "xarray",
    "hatchling",
    "editables",
    "ome-types",
    "safetensors",
    "ome-zarr-models",
    "pyyaml",
)
# Tools of others that must read polystore's files, and whose files polystore must read.
ORACLES = (
    "tensorstore",
    "ome-zarr",
    "bioio-ome-tiff",
    "bioio-ome-zarr",
    "bioio-tifffile",
    "ngff-zarr",
    "jsonschema",
)
GPU_TESTS = ("packages/polystore-core/tests/gpu", "tests/test_truth_table.py")
# The CPU build by its exact version: a range would fetch several GB of CUDA libraries.
FRAMEWORKS = ("torch==2.13.0", "jax", "tensorflow-cpu")


def install_packages(
    session: nox.Session, *format_extras: str, zarr: str = "", napari: bool = False
) -> None:
    """Install the distributions of this checkout, editable; napari itself (1 GB) if asked for.

    PyTorch comes with FRAMEWORKS only: our own dependency would fetch the build for GPUs.
    """
    extras = {"core": "[progress,keyring,watch]", "zarr": zarr}
    if format_extras:
        extras["formats"] = f"[{','.join(format_extras)}]"
    alone = ["torch"] if napari else ["torch", "napari"]
    names = [name for name in PACKAGES if name not in alone]
    arguments = [f"{PACKAGES[name]}{extras.get(name, '')}" for name in names]
    session.install(*(word for argument in arguments for word in ("-e", argument)))
    for name in alone:
        session.install("--no-deps", "-e", PACKAGES[name])


def install_tests(session: nox.Session, *, napari: bool = False) -> None:
    """Install all that the quick tests need."""
    session.install(*TEST_TOOLS)
    install_packages(
        session,
        "tiff",
        "image",
        "pandas",
        "roi",
        "safetensors",
        zarr="[dask,zarrs]",
        napari=napari,
    )
    session.install("-e", "examples/polystore-sqlite")


def run_pytest(session: nox.Session, *options: str) -> None:
    """Run the tests of the packages that are named first, else all; then come options."""
    names = list(takewhile(lambda word: word in PACKAGES, session.posargs))
    folders = [PACKAGES[name] for name in names]
    scratch = Path(session.create_tmp()) / "pytest"  # the disk of the checkout, not a tmpfs
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir()
    session.run(
        "pytest",
        "-n",
        str(os.cpu_count()),
        "--dist",
        "worksteal",
        "--durations",
        "20",
        *options,
        *folders,
        *session.posargs[len(names) :],
        env={"TMPDIR": str(scratch)},
    )


@nox.session
def demo(session: nox.Session) -> None:
    """Run the pipeline here and on a cluster of two workers: nox -s demo [-- FOLDER --view]"""
    napari = "--view" in session.posargs and "fiji" not in session.posargs
    session.install("xarray")
    install_packages(session, "tiff", "image", zarr="[dask]", napari=napari)
    session.run("python", "examples/pipelines/demo.py", *session.posargs)
    if not session.posargs or session.posargs[0] == "--view":  # no FOLDER of yours
        real = ROOT.parent / "shared/data/plate-cellomics"
        folder = [str(real)] if real.is_dir() else []
        session.run("python", "examples/pipelines/cluster.py", *folder, *session.posargs)


@nox.session
def quick(session: nox.Session) -> None:
    """Run the tests that take minutes: nox -R -s quick [-- PACKAGES PYTEST OPTIONS]"""
    install_tests(session)
    run_pytest(session, "--speed=quick")


@nox.session
def tests(session: nox.Session) -> None:
    """Run all tests: nox -s tests [-- PACKAGES PYTEST OPTIONS]"""
    session.install(FRAMEWORKS[0])
    session.install(*ORACLES, *TYPES, *FRAMEWORKS[1:])
    install_tests(session, napari=True)
    run_pytest(session)


@nox.session
def gpu(session: nox.Session) -> None:
    """Run the tests that need an NVIDIA GPU, and measure there: nox -s gpu [-- PYTEST OPTIONS]"""
    # PyTorch with CUDA, by its exact version as in tests; the others bring CUDA 12 themselves.
    session.install(FRAMEWORKS[0], "jax[cuda12]", "cupy-cuda12x>=13")
    install_tests(session)
    session.run("nvidia-smi", external=True)  # device and driver, or an error without a GPU
    session.run("pytest", "-m", "gpu", *GPU_TESTS, *session.posargs)
    session.run("python", "benchmarks/gpu.py")


@nox.session
def faults(session: nox.Session) -> None:
    """Kill processes, fill disks, cut the power: nox -s faults [-- PACKAGES PYTEST OPTIONS]"""
    install_tests(session, napari=True)
    run_pytest(session, "-m", "faults")


@nox.session(python=["3.12", "3.13"])
def compat(session: nox.Session) -> None:
    """Run the quick tests, and a few of the others, on newer Pythons."""
    install_tests(session, napari=True)
    run_pytest(session, "--speed=smoke")


@nox.session(venv_backend="none")
def generate(session: nox.Session) -> None:
    """Write the files that are made from packages.toml, and the pages made from code."""
    session.run(sys.executable, "generate.py")
    session.run(sys.executable, "tools/pages.py")


@nox.session
def lint(session: nox.Session) -> None:
    """Check style, format, English and the direction of imports."""
    session.install(*LINT)
    install_packages(session)
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("python", "tools/prose.py", "--check")
    session.run("lint-imports")


@nox.session
def types(session: nox.Session) -> None:
    """Check types, strictly."""
    session.install(*TYPES, "nox")
    install_packages(session, "tiff", "image", "roi")
    sources = [f"{folder}/src" for folder in PACKAGES.values()]
    session.run("mypy", *sources, *CHECKED, "benchmarks")


@nox.session
def wheels(session: nox.Session) -> None:
    """Build wheels into dist/, install them as users do, run the documents, upgrade."""
    session.install("build", "hatchling")
    shutil.rmtree(ROOT / "dist", ignore_errors=True)
    for folder in PACKAGES.values():
        options = ("--no-isolation", "--outdir", "dist", folder)
        session.run("python", "-m", "build", *options, silent=True)
    session.run("python", "tests/check_wheels.py", "dist")


@nox.session
def docs(session: nox.Session) -> None:
    """Build the site into site/ and check its links: nox -s docs [-- --serve]"""
    session.install(*SITE)
    session.run("python", "tools/pages.py")
    if "--serve" in session.posargs:
        session.run("zensical", "serve")  # until Ctrl-C
        return
    session.run("zensical", "build", "--clean", "--strict")
    session.run("python", "tools/links.py")


@nox.session
def release(session: nox.Session) -> None:
    """Build the last commit into dist/ as a release, and check it. Nothing is published."""
    session.install(*RELEASE)
    session.run("python", "tools/release.py", "dist")
    built = sorted(
        str(path) for path in Path("dist").iterdir() if path.suffix in (".whl", ".gz")
    )
    session.run("twine", "check", "--strict", *built)
    session.run("python", "tests/check_wheels.py", "dist")
    session.run("python", "tests/check_alone.py", "dist", "dist/sbom")
    session.run("python", "tools/release.py", "--sums", "dist")


@nox.session(name="bench-streams")
def bench_streams(session: nox.Session) -> None:
    """Measure streams next to memcpy, pyzmq and the published polystore, and a live napari."""
    install_packages(session, napari=True)
    python = install_published(session, "polystore[streaming]==0.6.3")
    session.run(
        "python", "benchmarks/streaming.py", "--incumbent-python", python, *session.posargs
    )


def install_published(session: nox.Session, requirement: str) -> str:
    """Return the interpreter of an environment with a published version."""
    folder = Path(session.create_tmp()) / "incumbent"
    python = folder / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    if not python.exists():
        session.run("python", "-m", "venv", str(folder))
        session.run(str(python), "-m", "pip", "install", "-q", requirement, external=True)
    return str(python)


@nox.session
def bench(session: nox.Session) -> None:
    """Measure against NumPy, zarr and the published polystore: nox -s bench [-- OPTIONS]"""
    session.install("tensorstore", "zarrs>=0.2")
    install_packages(session, "tiff", "image")
    python = install_published(session, "polystore==0.6.3")
    session.run("python", "benchmarks/run.py", "--incumbent-python", python, *session.posargs)


@nox.session(name="bench-growth")
def bench_growth(session: nox.Session) -> None:
    """Fit how the time of each operation grows with N: nox -s bench-growth [-- OPTIONS]"""
    install_packages(session, "tiff", "roi")
    session.run("python", "benchmarks/growth.py", *session.posargs)
