"""Manifest: which class reads and writes which suffix. Imports only polystore."""

from polystore_core import FormatSpec, hookimpl


def _tiff(cls: str, summary: str) -> tuple[str, str, tuple[str, ...], str]:
    return f"tiff.format:{cls}", summary, ("tifffile", "imagecodecs"), "tiff"


_TIFF = _tiff("Tiff", "TIFF, ImageJ and OME-TIFF")
_OME_TIFF, _OME_BIG_TIFF = (
    _tiff("OmeTiff", "OME-TIFF"),
    _tiff("OmeBigTiff", "OME-TIFF, BigTIFF"),
)
_BIG_TIFF = _tiff("BigTiff", "BigTIFF")
# suffix: (module:Class, summary, modules that it needs, the extra that installs them).
# The module is named, not imported: listing formats must not import tifffile or torch.
_FORMATS: dict[str, tuple[str, str, tuple[str, ...], str]] = {
    "npy": ("npy:Npy", "NumPy array", (), ""),
    "npz": ("npz:Npz", "NumPy archive of named arrays", (), ""),
    "tif": _TIFF,
    "tiff": _TIFF,
    "ome.tif": _OME_TIFF,
    "ome.tiff": _OME_TIFF,
    "btf": _BIG_TIFF,
    "tf8": _BIG_TIFF,
    "ome.btf": _OME_BIG_TIFF,
    "ome.tf8": _OME_BIG_TIFF,
    "lsm": _tiff("TiffOfMicroscope", "Zeiss LSM (only read)"),
    "stk": _tiff("TiffOfMicroscope", "MetaMorph STK (only read)"),
    "svs": _tiff("TiffOfMicroscope", "Aperio SVS (only read)"),
    "qptiff": _tiff("TiffOfMicroscope", "PerkinElmer QPTIFF (only read)"),
    "csv": ("tables.csv:Csv", "comma-separated table", (), ""),
    "json": ("json:Json", "JSON document", (), ""),
    "txt": ("text:Text", "UTF-8 text", (), ""),
    "png": ("image:Png", "PNG image", ("imagecodecs",), "image"),
    "jpg": ("image:Jpeg", "JPEG image (lossy)", ("imagecodecs",), "image"),
    "jpeg": ("image:Jpeg", "JPEG image (lossy)", ("imagecodecs",), "image"),
    "safetensors": ("safetensors:SafeTensors", "named arrays, as of model weights", (), ""),
    "pt": ("torch:Torch", "PyTorch tensors and state dicts", ("torch",), "torch"),
    "roi": ("imagej.format:Roi", "ImageJ ROI", ("roifile",), "roi"),
    "roi.zip": ("imagej.format:RoiZip", "ImageJ ROI set", ("roifile",), "roi"),
    "zip": ("imagej.format:RoiZip", "ImageJ ROI set", ("roifile",), "roi"),
    "pth": ("torch:Torch", "PyTorch tensors and state dicts", ("torch",), "torch"),
}


@hookimpl
def polystore_format(name: str) -> FormatSpec | None:
    """Return the specification of the format with a suffix, without the dot."""
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
