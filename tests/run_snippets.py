"""Run the Python blocks of Markdown documents, in order, in one namespace for each document.

    python run_snippets.py DOCUMENT...

A block behind the line ``<!-- not run: reason -->`` is left out. Names that a document talks
about without making them (an image, a list of paths, a pipeline) are supplied here.
"""

from __future__ import annotations

import os
import re
import sys
import tempfile
from pathlib import Path

BLOCK = re.compile(r"(<!-- not run: [^\n]+ -->\n)?```python\n(.*?)```", re.DOTALL)


def supplied() -> dict[str, object]:
    import numpy as np

    from polystore import BackendRegistry, FileManager

    image = np.arange(64 * 64, dtype=np.uint16).reshape(64, 64)
    paths = [f"plate/image_{i}.npy" for i in range(3)]
    fm = FileManager(BackendRegistry())
    fm.save_batch([image] * 3, paths, backend="disk")
    return {
        "__name__": "snippet",
        "np": np,
        "fm": fm,
        "image": image,
        "data": image,
        "path": "result.npy",
        "backend": "disk",
        "paths": paths,
        "pipeline": lambda images: [image // 2 for image in images],
        "cache": {},
        "metadata_path": "metadata/plate.json",
    }


def run(document: Path) -> int:
    namespace = supplied()
    text = document.read_text("utf-8")
    count = 0
    for match in BLOCK.finditer(text):
        if match.group(1):
            continue
        line = text.count("\n", 0, match.start(2))
        code = compile("\n" * line + match.group(2), str(document), "exec")
        exec(code, namespace)
        count += 1
    return count


if __name__ == "__main__":
    for name in sys.argv[1:]:
        document = Path(name).resolve()
        with tempfile.TemporaryDirectory() as folder:
            os.chdir(folder)
            print(f"{document.name}: {run(document)} blocks ran")
            os.chdir("/")
