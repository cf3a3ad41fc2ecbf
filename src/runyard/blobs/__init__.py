"""The Blobs port: logs and artifacts as immutable bytes, in a local folder or an S3-compatible store. Called
by app and cli.

Keys are random, not digests: equal bytes are stored twice, so that sweeping one blob can never take another
row's bytes away.
"""

from runyard.blobs.opening import open_blobs

__all__ = ["open_blobs"]
