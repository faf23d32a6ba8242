"""The receiver's side: scripts and viewers, and the images that they hold."""
