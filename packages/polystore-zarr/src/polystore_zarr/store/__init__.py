"""The files of a store: found, read, written, hidden and removed. No other module opens one."""
