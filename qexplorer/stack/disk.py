"""Say what to do about a disk that is full or a folder that cannot be written."""

import errno
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from qexplorer.errors import StorageError

# Kafka and OpenSearch preallocate; below this they start and then fail in ways that do not name the disk.
MIN_FREE_BYTES = 512 * 1024 * 1024


@contextmanager
def disk_errors(folder: Path) -> Iterator[None]:
    """Turn the operating system's refusals about `folder` into StorageError."""
    try:
        yield
    except OSError as error:
        where = error.filename or folder
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            raise StorageError(f"The disk of {where} is full", remedy="Free some space") from error
        if error.errno in {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST}:
            raise StorageError(
                f"{where} cannot be written ({error.strerror})",
                remedy="Choose another folder, or mend its permissions",
            ) from error
        raise


def require_space(folder: Path) -> None:
    """Raise StorageError where the disk of `folder` has less than MIN_FREE_BYTES left."""
    free = shutil.disk_usage(folder).free
    if free < MIN_FREE_BYTES:
        raise StorageError(
            f"The disk of {folder} has {free // 2**20} MB left, too little for the engines",
            remedy="Free some space, or choose a folder on another disk with --data",
        )
