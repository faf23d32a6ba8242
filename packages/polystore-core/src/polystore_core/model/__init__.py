"""Values that say what data mean: arrays, images, names, regions."""
