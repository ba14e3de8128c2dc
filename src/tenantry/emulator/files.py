"""Owns the files that import and export jobs read and write: `s3://bucket/key` is `bucket/key` in one folder.

Leaves what stands in them to `operations.jobs`.
"""

from pathlib import Path

SIZE_MAX = 50_000_000


class FileError(Exception):
    """A file that cannot be read or written, in a sentence."""


class Files:
    """One folder that stands for S3, or None for no such place."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder

    def read(self, url: str) -> bytes:
        """Return what stands in the file of an S3 URL, or raise FileError."""
        path = self._path(url)
        try:
            if path.stat().st_size > SIZE_MAX:
                raise FileError(f"{url} is larger than {SIZE_MAX} bytes.")
            return path.read_bytes()
        except OSError as error:
            raise FileError(f"{url} cannot be read: {error.strerror}") from None

    def write(self, url: str, body: bytes) -> None:
        """Write the file of an S3 URL, or raise FileError."""
        path = self._path(url)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(body)
        except OSError as error:
            raise FileError(f"{url} cannot be written: {error.strerror}") from None

    def _path(self, url: str) -> Path:
        if self._folder is None:
            raise FileError("There is no folder for files: start the local SES with --files DIR.")
        folder = self._folder.resolve()
        try:
            path = (folder / url.removeprefix("s3://")).resolve()
        except (OSError, ValueError):
            raise FileError("The URL is no path of a file.") from None
        if folder not in path.parents:
            raise FileError(f"{url} lies outside the folder for files.")
        return path
