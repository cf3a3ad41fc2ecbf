"""Opens the blob store a setting names. Called by app and cli; obstore is imported only for a URL that needs
it."""

from __future__ import annotations

from pathlib import Path

from runyard.blobs.folder import FolderBlobs
from runyard.engine.ports import Blobs
from runyard.model.errors import Invalid


def open_blobs(place: str | Path) -> Blobs:
    """A folder, `file:///folder`, or `s3://bucket/prefix` (credentials, region and endpoint from AWS_*)."""
    text = str(place)
    if text.startswith("s3://"):
        from runyard.blobs.bucket import BucketBlobs

        return BucketBlobs(text)
    if "://" in text and not text.startswith("file:///"):
        raise Invalid(
            f"Blobs can lie in a folder or at s3://bucket/prefix, not at {text.partition('://')[0]}://."
        )
    return FolderBlobs(Path(text.removeprefix("file://")))
