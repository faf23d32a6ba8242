"""The sending side of a stream: backends and their connections."""
