"""Plugins: manifests, specs, registries, and checks of them."""
