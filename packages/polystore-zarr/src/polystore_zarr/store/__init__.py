"""The files of a store. No module outside this folder opens one."""
