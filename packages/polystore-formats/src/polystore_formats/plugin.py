"""Manifest: which class makes bytes of which suffix. Imports nothing but polystore."""

from polystore_core import FormatSpec, hookimpl

_TIFF = ("tiff.format:Tiff", "TIFF, ImageJ and OME-TIFF", ("tifffile", "imagecodecs"), "tiff")
# suffix: (module:Class, summary, modules it needs, what installs them)
_FORMATS: dict[str, tuple[str, str, tuple[str, ...], str]] = {
    "npy": ("npy:Npy", "NumPy array", (), ""),
    "npz": ("npz:Npz", "NumPy archive of named arrays", (), ""),
    "tif": _TIFF,
    "tiff": _TIFF,
    "csv": ("tables.csv:Csv", "comma-separated table", (), ""),
    "json": ("json:Json", "JSON document", (), ""),
    "txt": ("text:Text", "UTF-8 text", (), ""),
    "png": ("image:Png", "PNG image", ("imagecodecs",), "image"),
    "jpg": ("image:Jpeg", "JPEG image (lossy)", ("imagecodecs",), "image"),
    "jpeg": ("image:Jpeg", "JPEG image (lossy)", ("imagecodecs",), "image"),
    "pt": ("torch:Torch", "PyTorch tensors and state dicts", ("torch",), "torch"),
    "roi": ("imagej.format:Roi", "ImageJ ROI", ("roifile",), "roi"),
    "roi.zip": ("imagej.format:RoiZip", "ImageJ ROI set", ("roifile",), "roi"),
    "zip": ("imagej.format:RoiZip", "ImageJ ROI set", ("roifile",), "roi"),
    "pth": ("torch:Torch", "PyTorch tensors and state dicts", ("torch",), "torch"),
}


@hookimpl
def polystore_format(name: str) -> FormatSpec | None:
    if name not in _FORMATS:
        return None
    target, summary, requires, extra = _FORMATS[name]
    return FormatSpec(
        name=name,
        target=f"polystore_formats.{target}",
        api=1,
        summary=summary,
        requires=requires,
        install=f"polystore-formats[{extra}]" if extra else "",
    )
