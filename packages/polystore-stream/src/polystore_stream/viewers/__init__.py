"""What viewers share: where a value goes, how it looks, when it is shown, what it is asked."""
