"""Libraries that check data: pydantic, jsonschema, marshmallow, msgspec, cattrs, pandera, GraphQL, money, identifiers.

Data that is well-formed but not acceptable is a validation fault; where the checker itself says that a field is
missing, unknown or of another type, two parties disagree about the shape: a schema fault. Neither is transient.
"""

from __future__ import annotations

from typing import Any

from celery_recovery.errors.model import ErrorSeverity, ErrorType
from celery_recovery.errors.reading import attr, cause_of, text_of
from celery_recovery.errors.rules.naming import within
from celery_recovery.errors.rules.rule import Answer, Family, Look, Through, Verdict, permanent, transient
from celery_recovery.errors.rules.status import by_status

__all__ = ("FAMILY",)

_REFUSED = permanent(ErrorType.VALIDATION)
_MISMATCH = permanent(ErrorType.SCHEMA)
_UNREADABLE = permanent(ErrorType.PARSING)
_BUG = permanent(ErrorType.UNKNOWN)
_DOMAIN = permanent(ErrorType.BUSINESS_LOGIC)
_LOST = transient(ErrorType.NETWORK)
_SETUP = permanent(ErrorType.SYSTEM, severity=ErrorSeverity.HIGH)

# `errors()` builds a dictionary per error: a model with thousands of them is not asked.
_PYDANTIC_LIMIT = 20
_SHAPE = ("missing", "extra_forbidden", "value_error.missing", "value_error.extra", "unexpected_keyword_argument")
_JSON = ("json_invalid", "value_error.jsondecode")
_JSONSCHEMA_SHAPE = ("required", "additionalProperties", "dependentRequired", "unevaluatedProperties")
# pandera.errors.SchemaErrorReason, the members that are about columns and types and not about values
_PANDERA_SHAPE = (
    "COLUMN_NOT_IN",
    "INDEX_NOT_IN",
    "WRONG_DATATYPE",
    "WRONG_FIELD_NAME",
    "NO_FIELD_NAME",
    "DTYPE",
    "MISMATCH",
)


def _pydantic(exc: Any) -> Verdict:
    """By the kinds of its errors (`missing`, `json_invalid`, …): the same words in pydantic 1 and 2."""
    count = exc.error_count() if hasattr(exc, "error_count") else len(exc.errors())
    if count > _PYDANTIC_LIMIT:
        return permanent(ErrorType.VALIDATION, context={"errors": count})
    try:
        errors = exc.errors(include_url=False, include_context=False, include_input=False)
    except TypeError:  # pydantic 1 takes no arguments
        errors = exc.errors()
    kinds = [str(error["type"]) for error in errors]
    fields = [".".join(map(str, error["loc"])) for error in errors[:10]]
    return permanent(_pydantic_type(kinds), kinds[0], context={"errors": count, "fields": fields})


def _pydantic_type(kinds: list[str]) -> ErrorType:
    if any(kind in _JSON for kind in kinds):
        return ErrorType.PARSING
    return ErrorType.SCHEMA if all(kind in _SHAPE for kind in kinds) else ErrorType.VALIDATION


def _jsonschema(exc: Any) -> Verdict:
    keyword = attr(exc, "validator") or attr(exc, "rule")  # fastjsonschema says `rule`
    keyword = keyword if isinstance(keyword, str) else None
    kind = ErrorType.SCHEMA if keyword in _JSONSCHEMA_SHAPE else ErrorType.VALIDATION
    return permanent(kind, keyword)


def _msgspec(exc: Any) -> Verdict:
    text = text_of(exc)
    return _MISMATCH if "missing required field" in text or "unknown field" in text else _REFUSED


def _pandera(exc: Any) -> Verdict:
    reason = attr(attr(exc, "reason_code"), "name")
    if not isinstance(reason, str):  # SchemaErrors: a list of errors, each with its own reason
        found = attr(exc, "schema_errors") or ()
        reasons = [attr(attr(error, "reason_code"), "name") or "" for error in list(found)[:_PYDANTIC_LIMIT]]
        return _MISMATCH if not reasons or any(map(_is_shape, reasons)) else _REFUSED
    return permanent(ErrorType.SCHEMA if _is_shape(reason) else ErrorType.VALIDATION, reason)


def _is_shape(reason: str) -> bool:
    return any(part in reason for part in _PANDERA_SHAPE)


def _graphql(exc: Any) -> Answer:
    """A resolver's exception is inside; without one the query itself was refused."""
    inner = attr(exc, "original_error")
    return Through(inner, _REFUSED) if isinstance(inner, BaseException) else _REFUSED


def _gql_server(exc: Any) -> Verdict:
    return by_status(attr(exc, "code")) or _LOST


def _problem(exc: Any) -> Verdict:
    """RFC 9457 problem details: connexion and its like carry the status they would answer with."""
    status = attr(exc, "status") or attr(exc, "status_code")
    return by_status(status, attr(exc, "headers")) or _REFUSED


def _reference(exc: Any) -> Answer:
    return Through(cause_of(exc), _MISMATCH)


_RULES: dict[str, Verdict | Look] = {
    # pydantic and what is built on it
    **within("pydantic_core pydantic sqlmodel", "ValidationError", _pydantic),
    **within("pydantic_core", "PydanticCustomError PydanticKnownError PydanticSerializationError", _REFUSED),
    **within("pydantic_core pydantic", "SchemaError PydanticUserError ConfigError", _BUG),
    **within("pydantic", "PydanticValueError PydanticTypeError", _REFUSED),
    **within("pydantic_settings pydantic", "SettingsError", _SETUP),
    **within("fastapi", "RequestValidationError WebSocketRequestValidationError", _REFUSED),
    **within("ninja", "ValidationError", _REFUSED),
    **within("protovalidate", "ValidationError", _REFUSED),
    # JSON Schema, XML Schema, OpenAPI
    **within("jsonschema connexion openapi_schema_validator", "ValidationError InvalidSpecification", _jsonschema),
    **within("jsonschema jsonschema_specifications", "SchemaError UnknownType UndefinedTypeCheck", _MISMATCH),
    **within("jsonschema", "RefResolutionError _RefResolutionError _WrappedReferencingError", _reference),
    **within("jsonschema", "FormatError", _REFUSED),
    **within("jsonschema_rs", "ValidationError", _REFUSED),
    **within("referencing", "Unresolvable NoSuchResource CannotDetermineSpecification UnknownDialect", _MISMATCH),
    **within("referencing", "Unretrievable", _reference),
    **within("fastjsonschema", "JsonSchemaValueException JsonSchemaValuesException", _jsonschema),
    **within("fastjsonschema", "JsonSchemaException JsonSchemaDefinitionException", _MISMATCH),
    **within("xmlschema", "XMLSchemaException XMLSchemaValidatorError XMLSchemaValidationError", _REFUSED),
    **within("xmlschema", "XMLSchemaParseError XMLSchemaModelError XMLSchemaNotBuiltError", _MISMATCH),
    **within("xmlschema", "XMLResourceParseError", _UNREADABLE),
    **within(
        "openapi_spec_validator prance",
        "OpenAPIError OpenAPIValidationError ValidationError ResolutionError",
        _MISMATCH,
    ),
    **within("openapi_core", "OpenAPIError ParametersError HeadersError", _REFUSED),
    # marshmallow and its kin
    **within("marshmallow dataclasses_json webargs", "MarshmallowError ValidationError WebargsError", _REFUSED),
    **within("dataclasses_json", "UndefinedParameterError", _MISMATCH),
    **within("marshmallow", "RegistryError FieldInstanceResolutionError StringNotCollectionError", _BUG),
    **within("cerberus", "DocumentError", _REFUSED),
    **within("cerberus", "SchemaError", _MISMATCH),
    **within("voluptuous", "Error Invalid MultipleInvalid", _REFUSED),
    **within("voluptuous", "SchemaError RequiredFieldInvalid", _MISMATCH),
    **within("schema", "SchemaError SchemaUnexpectedTypeError SchemaOnlyOneAllowedError", _REFUSED),
    **within("schema", "SchemaMissingKeyError SchemaWrongKeyError SchemaForbiddenKeyError", _MISMATCH),
    **within("colander", "Invalid", _REFUSED),
    **within("colander", "UnsupportedFields", _MISMATCH),
    **within(
        "wtforms flask_wtf formencode deform", "ValidationError StopValidation Invalid ValidationFailure", _REFUSED
    ),
    **within("trafaret", "DataError", _REFUSED),
    **within("schematics", "BaseError ValidationError ConversionError DataError", _REFUSED),
    **within("schematics", "UnknownFieldError UndefinedValueError", _MISMATCH),
    **within("valideer lepl pykwalify", "ValidationError SchemaError PyKwalifyException", _REFUSED),
    # classes built from data
    **within("cattrs cattr", "BaseValidationError CattrsError", _REFUSED),
    **within("cattrs cattr", "ForbiddenExtraKeysError StructureHandlerNotFoundError", _MISMATCH),
    **within("attr attrs", "AttrsAttributeNotFoundError NotAnAttrsClassError UnannotatedAttributeError", _BUG),
    **within("msgspec", "ValidationError", _msgspec),
    **within("msgspec", "DecodeError", _UNREADABLE),
    **within("msgspec", "MsgspecError EncodeError", _REFUSED),
    **within("dacite", "DaciteError WrongTypeError UnionMatchError StrictUnionMatchError", _REFUSED),
    **within("dacite", "MissingValueError UnexpectedDataError", _MISMATCH),
    **within("dacite", "ForwardReferenceError", _BUG),
    **within(
        "mashumaro", "MissingField ExtraKeysError MissingDiscriminatorError SuitableVariantNotFoundError", _MISMATCH
    ),
    **within("mashumaro", "InvalidFieldValue UnserializableDataError", _REFUSED),
    **within("mashumaro", "BadDialect BadHookSignature UnresolvedTypeReferenceError", _BUG),
    **within("serde apischema", "SerdeError ValidationError", _REFUSED),
    **within("typeguard", "TypeCheckError", _REFUSED),
    **within("beartype", "BeartypeHintViolation BeartypeCallHintViolation BeartypeDoorHintViolation", _REFUSED),
    **within("beartype", "BeartypeException", _BUG),
    **within("traitlets traits", "TraitError ConfigError ConfigLoaderError ArgumentError ConfigurableError", _REFUSED),
    **within("traitlets", "ConfigFileNotFound", permanent(ErrorType.FILESYSTEM)),
    # data frames
    **within("pandera", "SchemaError SchemaErrors PysparkSchemaError", _pandera),
    **within("pandera", "ParserError", _REFUSED),
    **within("pandera", "SchemaInitError SchemaDefinitionError BackendNotFoundError BaseStrategyOnlyError", _BUG),
    **within("great_expectations", "GreatExpectationsError", _REFUSED),
    **within("great_expectations", "DatabaseConnectionError StoreBackendTransientError", _LOST),
    **within("great_expectations", "DataContextError ConfigNotFoundError PluginModuleNotFoundError StoreError", _SETUP),
    **within("great_expectations", "MetricResolutionError ExecutionEngineError", _reference),
    # GraphQL and API descriptions
    **within("graphql", "GraphQLError", _graphql),
    **within("graphql", "GraphQLSyntaxError", _UNREADABLE),
    **within("gql", "TransportError TransportClosed TransportConnectionFailed", _LOST),
    **within("gql", "TransportServerError", _gql_server),
    **within("gql", "TransportQueryError", _REFUSED),
    **within("gql", "TransportProtocolError TransportInvalidUrl", _UNREADABLE),
    **within("connexion", "ProblemException MissingSecurityOperation", _problem),
    **within("connexion", "NonConformingResponse", _MISMATCH),
    **within("connexion", "ConnexionException ResolverError MissingMiddleware", _SETUP),
    # identifiers, money, addresses
    **within("stdnum validators validate_email", "ValidationError ValidationFailure", _REFUSED),
    **within("email_validator", "EmailNotValidError", _REFUSED),
    **within("validate_email", "Error", _REFUSED),
    **within("moneyed money", "CurrencyDoesNotExist MoneyComparisonError CurrencyMismatch MoneyException", _REFUSED),
    **within("money", "ExchangeRateNotFound ExchangeBackendNotInstalled", _SETUP),
    **within("money", "InvalidOperandType", _BUG),
    **within("forex_python", "RatesNotAvailableError", _LOST),
    **within("currency_converter", "RateNotFoundError", _REFUSED),
    **within("schwifty", "SchwiftyException", _REFUSED),
    **within("rfc3986 rfc3987 hyperlink", "RFC3986Exception ValidationError URLParseError", _REFUSED),
    **within("shortuuid hashids ulid", "Error", _REFUSED),
    **within("jsonlogic json_logic rule_engine", "RuleEngineError EngineError", _REFUSED),
    **within("rule_engine", "SyntaxError RuleSyntaxError DatetimeSyntaxError RegexSyntaxError", _UNREADABLE),
    # state machines and what web frameworks have beside their answers
    **within("transitions statemachine django_fsm", "MachineError TransitionNotAllowed InvalidStateValue", _DOMAIN),
    **within("django_fsm viewflow", "ConcurrentTransition", transient(ErrorType.SYSTEM)),
    **within("import_export", "ImportExportError FieldError RowError", _REFUSED),
    **within("django", "VariableDoesNotExist FieldIsAForeignKeyColumnName", _MISMATCH),
    **within("django", "GDALException GEOSException SRSException GeoIP2Exception InvalidTokenFormat", _REFUSED),
    **within("django", "M2MDeserializationError UnserializableContentError InvalidTemplateLibrary", _UNREADABLE),
    # configuration read as data
    **within("environs", "EnvError EnvValidationError ParserConflictError", _REFUSED),
    **within("decouple", "UndefinedValueError", _REFUSED),
    **within("dynaconf", "ValidationError AccessError", _REFUSED),
    **within("dynaconf", "DynaconfParseError DynaconfFormatError BoxError", _UNREADABLE),
    **within("hydra omegaconf", "OmegaConfBaseException HydraException ConfigKeyError", _REFUSED),
    **within("confuse", "ConfigError", _REFUSED),
}

FAMILY = Family(name="validation", classes=_RULES)
