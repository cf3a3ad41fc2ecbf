"""The Blobs port over obstore: logs and artifacts as immutable bytes; called by app."""
