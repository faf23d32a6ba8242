"""The manifest. It imports nothing but polystore."""

from polystore_core import BackendSpec, hookimpl

BACKENDS = {
    "gallery": ("backend:GalleryBackend", "pictures on a web page in a folder"),
    "gallery_stream": ("stream:GalleryStream", "pictures on a page that one process writes"),
}


@hookimpl
def polystore_backend(name: str) -> BackendSpec | None:
    if name not in BACKENDS:
        return None
    target, summary = BACKENDS[name]
    return BackendSpec(name=name, target=f"polystore_gallery.{target}", api=1, summary=summary)
