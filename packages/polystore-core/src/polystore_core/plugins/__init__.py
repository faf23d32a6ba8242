"""What is installed: manifests, specs, registries, and their faults."""
