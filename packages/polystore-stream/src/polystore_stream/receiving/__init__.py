"""The receiving side of a stream: scripts and viewers, and the images that they hold."""
