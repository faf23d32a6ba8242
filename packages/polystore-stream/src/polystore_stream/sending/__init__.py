"""The producer's side: backends, their connections, and viewers that they start and ask."""
