"""python -m polystore_gallery FOLDER: write a page of the images that pipelines send."""

import argparse
import os

from .viewer import GalleryViewer

parser = argparse.ArgumentParser(prog="polystore_gallery", description=__doc__)
parser.add_argument("folder")
parser.add_argument("--name", default="default", help="its name for backends (%(default)s)")
options = parser.parse_args()
GalleryViewer(os.path.abspath(options.folder), options.name).run()
