"""Documents, pictures, sound and video: Office files, PDF, images, audio tags, ffmpeg.

A file that is not what its name says is a parsing fault; a missing converter program is a fault of the machine; a
document that is locked by a password, or too large to be opened safely, is not acceptable input.
"""

from __future__ import annotations

from typing import Any

from celery_recovery.errors.model import ErrorSeverity, ErrorType
from celery_recovery.errors.reading import args_of, attr, text_of
from celery_recovery.errors.rules.naming import within
from celery_recovery.errors.rules.rule import Answer, Family, Look, Through, Verdict, permanent, transient

__all__ = ("FAMILY",)

_UNREADABLE = permanent(ErrorType.PARSING)
_REFUSED = permanent(ErrorType.VALIDATION)
_BAD_FILE = permanent(ErrorType.FILESYSTEM)
_NO_PROGRAM = permanent(ErrorType.SYSTEM, severity=ErrorSeverity.HIGH)
_FAILED = permanent(ErrorType.SYSTEM)
_SLOW = transient(ErrorType.SYSTEM)
_LOST = transient(ErrorType.NETWORK)
_FULL = transient(ErrorType.MEMORY, severity=ErrorSeverity.HIGH)

# What ffmpeg prints, in lower case; of several the last stands, for it ends with the reason.
_FFMPEG: tuple[tuple[str, Verdict], ...] = (
    ("connection refused", _LOST),
    ("connection timed out", _LOST),
    ("connection reset", _LOST),
    ("server returned 5", _LOST),
    ("cannot allocate memory", _FULL),
    ("no space left", transient(ErrorType.FILESYSTEM, severity=ErrorSeverity.CRITICAL)),
    ("no such file", _BAD_FILE),
    ("permission denied", _BAD_FILE),
    ("invalid data found", _UNREADABLE),
    ("moov atom not found", _UNREADABLE),
    ("error while decoding", _UNREADABLE),
    ("invalid argument", _REFUSED),
    ("unknown encoder", _REFUSED),
)


def _ffmpeg(exc: Any) -> Verdict:
    said = attr(exc, "stderr") or text_of(exc)
    if isinstance(said, bytes):
        said = said[-4000:].decode("utf-8", "replace")
    said = str(said)[-4000:].lower()
    return next((verdict for words, verdict in _FFMPEG if words in said), _FAILED)


def _opencv(exc: Any) -> Verdict:
    return _FULL if attr(exc, "code") == -4 else _REFUSED  # cv::Error::StsNoMem


def _sound(exc: Any) -> Verdict:
    return _BAD_FILE if "System error" in text_of(exc) else _UNREADABLE  # libsndfile: SF_ERR_SYSTEM


def _mutagen(exc: Any) -> Answer:
    """A tag that cannot be read, or the operating system's error, put inside without `from`."""
    inner = args_of(exc)[0] if args_of(exc) else None
    return Through(inner, _UNREADABLE) if isinstance(inner, OSError) else _UNREADABLE


_RULES: dict[str, Verdict | Look] = {
    # Office
    **within("openpyxl", "InvalidFileException", _UNREADABLE),
    **within("openpyxl", "CellCoordinatesException IllegalCharacterError NamedRangeException", _REFUSED),
    **within("openpyxl", "SheetTitleException TokenizerError TranslatorError", _REFUSED),
    **within("openpyxl", "ReadOnlyWorkbookException WorkbookAlreadySaved", permanent(ErrorType.UNKNOWN)),
    **within("xlsxwriter", "XlsxWriterException XlsxInputError FileSizeError", _REFUSED),
    **within("xlsxwriter", "FileCreateError", _BAD_FILE),
    **within("xlsxwriter", "UndefinedImageSize UnsupportedImageFormat", _UNREADABLE),
    **within("docx pptx", "PackageNotFoundError InvalidXmlError OpcError PythonDocxError PythonPptxError", _UNREADABLE),
    **within(
        "docx", "UnrecognizedImageError InvalidImageStreamError UnexpectedEndOfFileError XmlchemyError", _UNREADABLE
    ),
    **within("docx", "InvalidSpanError", _REFUSED),
    **within("docxtpl docxcompose", "TemplateError", _UNREADABLE),
    **within("odf", "IllegalChild IllegalText", _REFUSED),
    **within("olefile oletools", "OleFileError NotOleFileError FileOpenError", _UNREADABLE),
    **within("extract_msg", "ExMsgBaseException InvalidFileFormatError UnrecognizedMSGTypeError", _UNREADABLE),
    **within("msoffcrypto", "FileFormatError ParseError", _UNREADABLE),
    **within("msoffcrypto", "InvalidKeyError DecryptionError EncryptionError", _REFUSED),
    **within("textract", "ShellError ExtensionNotSupported UnknownMethod", _FAILED),
    **within("textract", "MissingFileError", _BAD_FILE),
    **within("markitdown", "MarkItDownException UnsupportedFormatException FileConversionException", _UNREADABLE),
    # PDF
    **within("pypdf PyPDF2 PyPDF4", "PyPdfError PdfReadError ParseError PdfStreamError EmptyFileError", _UNREADABLE),
    **within("pypdf PyPDF2", "FileNotDecryptedError WrongPasswordError LimitReachedError", _REFUSED),
    **within("pypdf PyPDF2", "PageSizeNotDefinedError", _REFUSED),
    **within("pypdf PyPDF2 pikepdf", "DependencyError", _NO_PROGRAM),
    **within("pdfminer", "PSException PDFException PDFSyntaxError PSSyntaxError", _UNREADABLE),
    **within("pdfminer", "PDFPasswordIncorrect PDFEncryptionError PDFTextExtractionNotAllowed", _REFUSED),
    **within("pdfplumber", "PdfminerException MalformedPDFException", _UNREADABLE),
    **within("pikepdf", "PikepdfError PdfError PdfParsingError DataDecodingError", _UNREADABLE),
    **within("pikepdf", "PasswordError NotExtractableError JobUsageError", _REFUSED),
    **within("pikepdf", "DeletedObjectError ForeignObjectError OutlineStructureError", _REFUSED),
    **within(
        "pymupdf fitz", "FileDataError EmptyFileError mupdf_error_format FzErrorFormat FzErrorSyntax", _UNREADABLE
    ),
    **within("pymupdf fitz", "FzErrorBase", _UNREADABLE),
    **within("pymupdf fitz", "FzErrorArgument FzErrorLimit FzErrorUnsupported", _REFUSED),
    **within("pymupdf fitz", "FileNotFoundError FzErrorSystem", _BAD_FILE),
    **within("pymupdf fitz", "FzErrorTrylater FzErrorAbort", _SLOW),
    **within("pypdfium2", "PdfiumError", _UNREADABLE),
    **within("pdf2image", "PDFPageCountError PDFSyntaxError", _UNREADABLE),
    **within("pdf2image", "PDFInfoNotInstalledError PopplerNotInstalledError", _NO_PROGRAM),
    **within("pdf2image", "PDFPopplerTimeoutError", _SLOW),
    **within("tabula", "CSVParseError", _UNREADABLE),
    **within("tabula camelot", "JavaNotFoundError", _NO_PROGRAM),
    **within("reportlab", "LayoutError PDFError FontError FontNotFoundError RenderPMError", _REFUSED),
    **within("reportlab", "TTFError", _UNREADABLE),
    **within("fpdf", "FPDFException FPDFUnicodeEncodingException FPDFPageFormatException", _REFUSED),
    **within("ocrmypdf", "InputFileError DigitalSignatureError PriorOcrFoundError EncryptedPdfError", _REFUSED),
    **within("ocrmypdf", "MissingDependencyError SubprocessOutputError", _NO_PROGRAM),
    **within("pytesseract", "TesseractNotFoundError TSVNotSupported ALTONotSupported PandasNotSupported", _NO_PROGRAM),
    **within("pytesseract", "TesseractError", _FAILED),
    # pictures
    **within("PIL", "UnidentifiedImageError BLPFormatError PdfFormatError", _UNREADABLE),
    **within("PIL", "DecompressionBombError DecompressionBombWarning PyCMSError", _REFUSED),
    **within("cv2", "error", _opencv),
    **within("imageio", "ParseError CompressedDicom Error", _UNREADABLE),
    **within("imageio", "NotADicomFile InitializationError TiffFileError", _UNREADABLE),
    **within("imageio", "NeedDownloadError InternetNotAllowedError", _NO_PROGRAM),
    **within("tifffile", "TiffFileError OmeXmlError", _UNREADABLE),
    **within("wand", "CorruptImageError BlobError MissingDelegateError CoderError TypeError", _UNREADABLE),
    **within("wand", "CorruptImageFatalError BlobFatalError CoderFatalError ImageError", _UNREADABLE),
    **within("wand", "ResourceLimitError ResourceLimitFatalError CacheError", _FULL),
    **within("wand", "PolicyError OptionError", _REFUSED),
    **within("pyvips", "Error", _UNREADABLE),
    **within("rawpy", "LibRawError LibRawFileUnsupportedError LibRawDataError LibRawIOError", _UNREADABLE),
    **within("rawpy", "LibRawInsufficientMemoryError LibRawUnsufficientMemoryError", _FULL),
    **within("piexif exif", "InvalidImageDataError UnpackError", _UNREADABLE),
    **within("cairosvg svglib", "PointError", _UNREADABLE),
    # sound and video
    **within("ffmpeg moviepy", "Error FFmpegError", _ffmpeg),
    **within("av", "FFmpegError", _ffmpeg),
    **within("av", "InvalidDataError", _UNREADABLE),
    **within("av", "HTTPServerError HTTPTooManyRequestsError", _LOST),
    **within("av", "HTTPClientError HTTPBadRequestError HTTPNotFoundError HTTPForbiddenError", _REFUSED),
    **within("pydub", "PydubException CouldntDecodeError", _UNREADABLE),
    **within("pydub", "CouldntEncodeError InvalidDuration InvalidTag TooManyMissingFrames", _REFUSED),
    **within("mutagen", "MutagenError", _mutagen),
    **within(
        "mutagen",
        "BitReaderError LAMEError XingHeaderError VBRIHeaderError AtomError DescriptorError ASEntryError SpecError",
        _UNREADABLE,
    ),
    **within("eyed3 tinytag", "Error TagException TinyTagException ParseError", _UNREADABLE),
    **within("soundfile", "SoundFileError LibsndfileError", _sound),
    **within("audioread", "DecodeError", _UNREADABLE),
    **within("audioread", "NoBackendError", _NO_PROGRAM),
    **within("wave aifc sunau chunk audioop", "Error error", _UNREADABLE),
    **within("librosa", "ParameterError LibrosaError", _REFUSED),
    **within("magic", "MagicException", _FAILED),
    **within("weasyprint", "FontConfigurationError", _NO_PROGRAM),
}

FAMILY = Family(name="documents", classes=_RULES)
