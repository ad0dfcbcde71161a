"""Numbers, tables, graphs and maps: NumPy, pandas, Arrow, Polars, SciPy, scikit-learn, xarray, HDF5, GDAL.

A file that cannot be read is a parsing fault, a missing column a schema fault, an operation that the values do not
allow a validation fault. Arrow and Polars put several of these into one class, so their words are read.
"""

from __future__ import annotations

from typing import Any

from celery_recovery.errors.model import ErrorSeverity, ErrorType
from celery_recovery.errors.reading import attr, cause_of, text_of
from celery_recovery.errors.rules.naming import exactly, within
from celery_recovery.errors.rules.os import by_errno
from celery_recovery.errors.rules.rule import Answer, Family, Look, Through, Verdict, permanent, transient

__all__ = ("FAMILY",)

_UNREADABLE = permanent(ErrorType.PARSING)
_REFUSED = permanent(ErrorType.VALIDATION)
_MISMATCH = permanent(ErrorType.SCHEMA)
_BAD_FILE = permanent(ErrorType.FILESYSTEM)
_FULL = transient(ErrorType.MEMORY, severity=ErrorSeverity.HIGH)
_SETUP = permanent(ErrorType.SYSTEM, severity=ErrorSeverity.HIGH)
_LOST = transient(ErrorType.NETWORK)
_DENIED = permanent(ErrorType.NETWORK, severity=ErrorSeverity.HIGH)

_ARROW_UNREADABLE = (
    "magic bytes", "parse error", "Not an Arrow file", "not an Arrow", "Invalid IPC", "deserialize", "corrupt",
    "Corrupt", "footer", "not a parquet", "Not a Feather", "Parquet file size", "Tried reading schema",
    "Could not read", "Empty CSV", "Expected to read", "truncated", "Unexpected end of stream",
    "invalid UTF8", "invalid UTF-8",
)  # fmt: skip
_ARROW_SHAPE = ("chema", "incompatible types", "No match for FieldRef", "does not exist", "columns but", "Field named")
_POLARS_UNREADABLE = (
    "could not parse",
    "found more fields",
    "Syntax at",
    "parser error",
    "appropriate format to parse",
    "parquet: ",
    "unable to parse",
    "invalid utf-8",
    "out of spec",
    "InvalidEOF",
)


def _words(unreadable: tuple[str, ...], shape: tuple[str, ...]) -> Look:
    """Parsing or schema when the text has one of these words, else validation."""

    def look(exc: Any) -> Verdict:
        text = text_of(exc)
        if any(word in text for word in unreadable):
            return _UNREADABLE
        return _MISMATCH if any(word in text for word in shape) else _REFUSED

    return look


def _merge(exc: Any) -> Verdict:
    """pandas: keys that are not unique are about values; all other merge errors about columns and their types."""
    return _REFUSED if "not unique" in text_of(exc) or "not a one-to" in text_of(exc) else _MISMATCH


def _cause(otherwise: Verdict) -> Look:
    return lambda exc: Through(cause_of(exc), otherwise)


def _file(exc: Any) -> Answer:
    """GDAL and HDF5 give one class to "no such file", to "not such a format" and to a failed remote read."""
    # GDAL numbers its own errors: only an OSError with its text has the system's number.
    known = by_errno(attr(exc, "errno")) if attr(exc, "strerror") else None
    text = text_of(exc)
    if known or "No such file" in text or "does not exist" in text or "ermission denied" in text:
        return known or _BAD_FILE
    if "HTTP response code: 5" in text or "timed out" in text or "CURL error" in text:
        return _LOST
    return Through(cause_of(exc), _UNREADABLE)


def _sheet(exc: Any) -> Verdict:
    return _MISMATCH if "No sheet named" in text_of(exc) else _UNREADABLE


_RULES: dict[str, Verdict | Look] = {
    # pandas
    **within("pandas", "ParserError EmptyDataError DateParseError", _UNREADABLE),
    **within("pandas", "UndefinedVariableError IncompatibleFrequency SpecificationError", _MISMATCH),
    **within("pandas", "DataError DuplicateLabelError IntCastingNaNError OutOfBoundsDatetime", _REFUSED),
    **within("pandas", "OutOfBoundsTimedelta NullFrequencyError LossySetitemError InvalidComparison", _REFUSED),
    **within("pandas", "IndexingError InvalidIndexError UnsupportedFunctionCall InvalidVersion", _REFUSED),
    **within("pandas", "NumExprClobberingError NumbaUtilError UnsortedIndexError", _REFUSED),
    **within("pandas", "ClosedFileError PossibleDataLossError", _BAD_FILE),
    **within("pandas", "PyperclipException", _SETUP),
    **within("pandas", "DatabaseError", _cause(permanent(ErrorType.SCHEMA))),
    "pandas.*.MergeError": _merge,
    # NumPy, SciPy, statistics, learning from tables
    **within("numpy", "LinAlgError AxisError DTypePromotionError UFuncTypeError TooHardError MAError", _REFUSED),
    **within("numpy", "ConverterError FormatError", _UNREADABLE),
    **within("scipy", "QhullError NoConvergence ArpackError NegativeCycleError SpecialFunctionError", _REFUSED),
    **within("scipy", "FitError FitDataError ClusterError OdrError BracketError", _REFUSED),
    **within(
        "scipy sklearn", "MatReadError ArffError ArffException FortranEOFError FortranFormattingError", _UNREADABLE
    ),
    **within("scipy", "MatWriteError MalformedHeader BadFortranFormat OdrStop", _UNREADABLE),
    **within("sklearn imblearn", "NotFittedError InvalidParameterError UnsetMetadataPassedError", _REFUSED),
    **within("sklearn", "OpenMLError", _LOST),
    **within(
        "statsmodels", "MissingDataError PerfectSeparationError InfeasibleTestError X13Error ModelError", _REFUSED
    ),
    **within("statsmodels", "X13NotFoundError", _SETUP),
    **within("statsmodels", "ParseError", _UNREADABLE),
    **within("patsy formulaic", "PatsyError FormulaicError FactorEvaluationError", _REFUSED),
    **within("lifelines", "ConvergenceError StatError", _REFUSED),
    **within("cvxpy", "SolverError DCPError ParameterError", _REFUSED),
    **within("pulp ortools pyomo", "PulpError PulpSolverError ApplicationError ModelInvalid", _REFUSED),
    **within("xgboost lightgbm catboost _catboost", "XGBoostError LightGBMError CatBoostError CatboostError", _REFUSED),
    **within("sympy", "SympifyError LaTeXParsingError TokenError", _UNREADABLE),
    **within("sympy", "BasePolynomialError MatrixError DMError BaseCoreError GeometryError IndexException", _REFUSED),
    **within("sympy", "BaseHolonomicError QuantumError SecondQuantizationError StructureError", _REFUSED),
    **within("sympy", "PolyNonlinearError SolveFailed NonlinearError InfeasibleLPError UnboundedLPError", _REFUSED),
    **within("sympy", "PoleError PrecisionExhausted InconsistentAssumptions MellinTransformStripError", _REFUSED),
    **within("networkx igraph", "NetworkXException InternalError", _REFUSED),
    **within(
        "nltk", "LogicalExpressionException TgrepException UnparseableInputException ProverParseError", _UNREADABLE
    ),
    **within("nltk", "WordNetError FramenetError DependencyGraphError Prover9Exception TypeException", _REFUSED),
    **within("nltk", "CoreNLPServerError", _LOST),
    **within("spacy thinc", "MatchPatternError DataValidationError ConfigValidationError OracleError", _REFUSED),
    # Arrow and Polars
    "pyarrow.*.ArrowInvalid": _words(_ARROW_UNREADABLE, _ARROW_SHAPE),
    **within("pyarrow", "ArrowException ArrowSerializationError FeatherError", _UNREADABLE),
    **within("pyarrow", "ArrowKeyError ArrowTypeError ArrowNotImplementedError", _MISMATCH),
    **within("pyarrow", "ArrowIndexError", _REFUSED),
    **within("pyarrow", "ArrowMemoryError ArrowCapacityError", _FULL),
    **within("pyarrow", "ArrowCancelled", transient(ErrorType.SYSTEM)),
    **within("pyarrow", "FlightError FlightInternalError FlightTimedOutError FlightUnavailableError", _LOST),
    **within("pyarrow", "FlightCancelledError FlightServerError", _LOST),
    **within("pyarrow", "FlightUnauthenticatedError FlightUnauthorizedError", _DENIED),
    **within("pyarrow", "FlightWriteSizeExceededError", _REFUSED),
    **within("polars", "ColumnNotFoundError SchemaError SchemaFieldNotFoundError DuplicateError", _MISMATCH),
    **within("polars", "StructFieldNotFoundError", _MISMATCH),
    **within("polars", "SQLInterfaceError", _words(("parser error",), ("not found", "nable to find"))),
    **within("polars", "SQLSyntaxError NoDataError", _UNREADABLE),
    **within("polars", "PolarsError ComputeError InvalidOperationError", _words(_POLARS_UNREADABLE, ())),
    **within("polars", "ShapeError OutOfBoundsError StringCacheMismatchError RowsError", _REFUSED),
    **within("deltalake _internal", "TableNotFoundError SchemaMismatchError", _MISMATCH),
    **within("deltalake _internal", "CommitFailedError", transient(ErrorType.SYSTEM)),
    **within("deltalake _internal", "DeltaProtocolError", _UNREADABLE),
    **within("pyiceberg", "NoSuchTableError NoSuchNamespaceError ValidationError", _MISMATCH),
    **within(
        "pyiceberg", "CommitFailedException ServiceUnavailableError ServerError CommitStateUnknownException", _LOST
    ),
    **within("pyiceberg", "ForbiddenError UnauthorizedError OAuthError AuthorizationExpiredError", _DENIED),
    **within("pyiceberg", "RESTError DynamoDbError", _cause(_LOST)),
    **within("pyiceberg", "BadRequestError TableAlreadyExistsError NamespaceAlreadyExistsError ResolveError", _REFUSED),
    **within("fastparquet", "ParquetException JsonCodecError", _UNREADABLE),
    **within("ibis sqlframe", "IbisTypeError IbisInputError SchemaError", _MISMATCH),
    # labelled arrays and their files
    **within("xarray", "MergeError AlignmentError CoordinateValidationError MissingDimensionsError", _REFUSED),
    **within("xarray", "InvalidTreeError NotFoundInTreeError TreeIsomorphismError", _REFUSED),
    **within("zarr numcodecs", "BaseZarrError MetadataError NodeTypeValidationError", _REFUSED),
    **within("zarr", "ArrayNotFoundError GroupNotFoundError PathNotFoundError NodeNotFoundError", _BAD_FILE),
    **within("tables", "HDF5ExtError", _UNREADABLE),
    **within("tables", "NoSuchNodeError NodeError NoSuchChunkError", _MISMATCH),
    **within("tables", "ClosedFileError ClosedNodeError FileModeError", _BAD_FILE),
    **within("tables", "ChunkError NotChunkedError FlavorError UndoRedoError", _REFUSED),
    **within("netCDF4", "NetCDF4MissingFeatureException", _SETUP),
    **within("astropy", "VOTableSpecError AstropyUserWarning VerifyError", _UNREADABLE),
    **within("astropy", "UnitsError UnitConversionError UnitTypeError", _REFUSED),
    # spreadsheets as tables
    "xlrd.*.XLRDError": _sheet,
    **within("xlrd", "CompDocError FormulaError", _UNREADABLE),
    **within("xlrd", "XLDateError", _REFUSED),
    **within("pyxlsb python_calamine", "CalamineError XmlError ZipError PasswordError", _UNREADABLE),
    **within("python_calamine", "WorksheetNotFound", _MISMATCH),
    # maps
    **within("shapely", "ShapelyError GEOSException TopologicalError", _words(("ParseException",), ())),
    **within("shapely", "WKTReadingError WKBReadingError ReadingError", _UNREADABLE),
    **within("pyproj rasterio fiona pyogrio", "ProjError CRSError GeodError TransformError", _REFUSED),
    **within("pyproj", "DataDirError", _SETUP),
    **within("rasterio", "RasterioIOError", _file),
    **within("rasterio", "RasterioError DriverRegistrationError WindowEvaluationError RPCError", _REFUSED),
    **within("fiona pyogrio", "DriverError DataSourceError DriverIOError DataIOError CPLE_OpenFailedError", _file),
    **within("fiona pyogrio", "FionaError DataLayerError", _REFUSED),
    **within("fiona pyogrio", "SchemaError FieldError AttributeFilterError", _MISMATCH),
    **within("rasterio fiona pyogrio osgeo", "CPLE_BaseError", _file),
    **within("rasterio fiona pyogrio", "CPLE_OutOfMemoryError", _FULL),
    **within("rasterio fiona pyogrio", "CPLE_HttpResponseError", _LOST),
    **within("rasterio fiona pyogrio", "CPLE_IllegalArgError CPLE_NotSupportedError CPLE_AppDefinedError", _REFUSED),
    **within("rasterio fiona pyogrio", "CPLE_AWSAccessDeniedError CPLE_AWSInvalidCredentialsError", _DENIED),
    **within("geopy", "GeocoderTimedOut GeocoderServiceError GeocoderUnavailable GeocoderRateLimited", _LOST),
    **within("geopy", "GeocoderQuotaExceeded", _LOST),
    **within("geopy", "GeocoderQueryError GeocoderParseError ConfigurationError", _REFUSED),
    **within("geopy", "GeocoderAuthenticationFailure GeocoderInsufficientPrivileges", _DENIED),
    **within(
        "shapefile gpxpy fastkml", "ShapefileException GPXException GPXXMLSyntaxException KMLParseError", _UNREADABLE
    ),
    **exactly("pyo3_runtime.PanicException", permanent(ErrorType.UNKNOWN, severity=ErrorSeverity.HIGH)),
}

FAMILY = Family(name="science", classes=_RULES)
