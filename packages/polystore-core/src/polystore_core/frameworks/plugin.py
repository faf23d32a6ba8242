"""The manifest of the frameworks of polystore-core."""

from ..plugins.hooks import hookimpl
from ..plugins.specs import FrameworkSpec

# name: (class, summary)
_FRAMEWORKS = {
    "torch": ("Torch", "PyTorch tensors"),
    "jax": ("Jax", "JAX arrays"),
    "tensorflow": ("TensorFlow", "TensorFlow tensors"),
    "cupy": ("CuPy", "CuPy arrays, on NVIDIA GPUs"),
}


@hookimpl
def polystore_framework(name: str) -> FrameworkSpec | None:
    """Describe the framework ``name``."""
    if name not in _FRAMEWORKS:
        return None
    cls, summary = _FRAMEWORKS[name]
    return FrameworkSpec(
        name=name,
        target=f"polystore_core.frameworks.{name}:{cls}",
        api=1,
        summary=summary,
        requires=(name,),
        install=f"polystore[{name}]",
    )
