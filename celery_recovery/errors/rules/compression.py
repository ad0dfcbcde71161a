"""Archives and compressed streams.

Corrupt data is a parsing fault, also where the library dresses it as an `OSError`; a wrong or missing password, a name
that would leave the target directory and a bomb are validation faults.
"""

from __future__ import annotations

from celery_recovery.errors.model import ErrorSeverity, ErrorType
from celery_recovery.errors.rules.naming import exactly, within
from celery_recovery.errors.rules.rule import Family, Look, Verdict, permanent, transient

__all__ = ("FAMILY",)

_CORRUPT = permanent(ErrorType.PARSING)
_REFUSED = permanent(ErrorType.VALIDATION)
_BAD_FILE = permanent(ErrorType.FILESYSTEM)
_NO_PROGRAM = permanent(ErrorType.SYSTEM, severity=ErrorSeverity.HIGH)
_FULL = transient(ErrorType.MEMORY, severity=ErrorSeverity.HIGH)

_RULES: dict[str, Verdict | Look] = {
    **within("zipfile zipfile36 zipfile_deflate64", "BadZipFile", _CORRUPT),
    **within("zipfile", "LargeZipFile", _REFUSED),
    **within("pyzipper", "BadZipFile", _CORRUPT),
    **within("pyzipper", "LargeZipFile", _REFUSED),
    **exactly("gzip.BadGzipFile zlib.error _lzma.LZMAError lzma.LZMAError shutil.ReadError", _CORRUPT),
    **within("isal zlib_ng backports", "error IsalError BadGzipFile", _CORRUPT),
    **within("tarfile", "TarError ReadError CompressionError StreamError HeaderError", _CORRUPT),
    **within("tarfile", "FilterError", _REFUSED),
    **within("tarfile", "ExtractError", _BAD_FILE),
    **within("zstandard zstd pyzstd compression _zstd", "ZstdError Error", _CORRUPT),
    **within("snappy", "UncompressError CompressedLengthError", _CORRUPT),
    **within("cramjam", "DecompressionError CompressionError", _CORRUPT),
    **within("brotli _brotli brotlicffi brotlipy", "error Error", _CORRUPT),
    **within("_block _stream lz4", "LZ4BlockError LZ4StreamError", _CORRUPT),
    **within(
        "py7zr py7zz", "ArchiveError Bad7zFile CrcError DecompressionError InternalError BufferOverflow", _CORRUPT
    ),
    **within("py7zr", "UnsupportedCompressionMethodError", _CORRUPT),
    **within("py7zr", "PasswordRequired AbsolutePathError DecompressionBombError", _REFUSED),
    **within("rarfile", "Error", _CORRUPT),
    **within("rarfile", "PasswordRequired RarWrongPassword NeedFirstVolume RarUserError BadSymLinkError", _REFUSED),
    **within("rarfile", "NoRarEntry RarNoFilesError", permanent(ErrorType.SCHEMA)),
    **within("rarfile", "RarCannotExec NoCrypto", _NO_PROGRAM),
    **within("rarfile", "RarMemoryError", _FULL),
    **within("rarfile", "RarOpenError RarWriteError RarCreateError RarLockedArchiveError", _BAD_FILE),
    **within("rarfile", "RarSignalExit RarUserBreak", transient(ErrorType.SYSTEM)),
    **within("patoolib", "PatoolError", _CORRUPT),
    **within("libarchive", "ArchiveError", _CORRUPT),
    **within("unrar", "UnrarException BadRarFile", _CORRUPT),
    **exactly("django.utils.archive.ArchiveException", _CORRUPT),
}

FAMILY = Family(name="compression", classes=_RULES)
