"""The manifest. It imports nothing but polystore."""

from polystore_core import FormatSpec, hookimpl


@hookimpl
def polystore_format(name: str) -> FormatSpec | None:
    if name != "nrrd":
        return None
    return FormatSpec(
        name=name, target="polystore_nrrd.format:Nrrd", api=1, summary="NRRD, raw data"
    )
