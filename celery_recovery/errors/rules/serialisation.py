"""Formats of data at rest and on the wire: JSON, XML, YAML, TOML, INI, CSV, pickle, MessagePack, CBOR, Protobuf, Avro.

Bytes that cannot be read are a parsing fault; a value that cannot be written is a validation fault; writer and reader
with different schemas are a schema fault. The same bytes fail the same way in a minute, so nothing here is transient.
"""

from __future__ import annotations

from typing import Any

from celery_recovery.errors.model import ErrorType
from celery_recovery.errors.reading import text_of
from celery_recovery.errors.rules.naming import exactly, within
from celery_recovery.errors.rules.rule import Family, Look, Verdict, permanent, transient

__all__ = ("FAMILY",)

_UNREADABLE = permanent(ErrorType.PARSING)
_UNACCEPTABLE = permanent(ErrorType.VALIDATION)
_MISMATCH = permanent(ErrorType.SCHEMA)
_MISSING_PART = permanent(ErrorType.SYSTEM)
_CUT_OFF = transient(ErrorType.NETWORK)


def _protobuf_json(exc: Any) -> Verdict:
    return _MISMATCH if "has no field named" in text_of(exc) else _UNREADABLE


_RULES: dict[str, Verdict | Look] = {
    # JSON
    **within("json simplejson orjson ujson rapidjson jiter", "JSONDecodeError", _UNREADABLE),
    **within("rapidjson", "ValidationError", _UNACCEPTABLE),
    **within("ijson", "JSONError IncompleteJSONError", _UNREADABLE),
    **within("hjson", "HjsonDecodeError", _UNREADABLE),
    **within("demjson3 demjson", "JSONError", _UNREADABLE),
    **within("jsonlines", "Error InvalidLineError", _UNREADABLE),
    **within("jsonpointer jsonpatch", "JsonPointerException JsonPatchConflict JsonPatchTestFailed", _MISMATCH),
    **within("jsonpatch", "JsonPatchException InvalidJsonPatch", _UNACCEPTABLE),
    **within("jmespath", "JMESPathError", _UNACCEPTABLE),
    **within("jmespath", "ParseError LexerError EmptyExpressionError", _UNREADABLE),
    **within("jsonpath_ng", "JsonPathLexerError JsonPathParserError JSONPathError", _UNREADABLE),
    # tables
    **within("_csv csv clevercsv", "Error", _UNREADABLE),
    **within("tablib", "TablibException", _UNACCEPTABLE),
    **within("tablib", "UnsupportedFormat", _UNREADABLE),
    **within("tablib", "InvalidDimensions HeadersNeeded", _MISMATCH),
    **within("dbfread", "DBFNotFound", permanent(ErrorType.FILESYSTEM)),
    # XML and HTML
    **within("xml pyexpat", "ExpatError ParseError SAXException SAXParseException FatalIncludeError", _UNREADABLE),
    **exactly("xml.dom.DOMException xml.sax._exceptions.SAXNotRecognizedException", _UNACCEPTABLE),
    **exactly("xml.sax._exceptions.SAXNotSupportedException", _MISSING_PART),
    **within("defusedxml django", "DefusedXmlException DTDForbidden EntitiesForbidden", _UNACCEPTABLE),
    **within("defusedxml", "NotSupportedError", _MISSING_PART),
    **within("lxml", "Error LxmlError ParserError", _UNREADABLE),
    **within("lxml", "DocumentInvalid DTDValidateError RelaxNGValidateError", _UNACCEPTABLE),
    **within("lxml", "SchematronValidateError XMLSchemaValidateError XSLTApplyError", _UNACCEPTABLE),
    **within("lxml", "XMLSchemaParseError RelaxNGParseError SchematronParseError DTDParseError", _MISMATCH),
    **within("lxml", "FormNotFound", _MISMATCH),
    **within("xmltodict", "ParsingInterrupted", _UNREADABLE),
    **within("bs4 html5lib", "ParserRejectedMarkup StopParsing ParseError SerializeError", _UNREADABLE),
    **within("bs4", "FeatureNotFound", _MISSING_PART),
    **within("cssselect soupsieve tinycss2", "SelectorSyntaxError SelectorError ExpressionError", _UNREADABLE),
    **within("parsel", "CannotRemoveElementWithoutRoot CannotRemoveElementWithoutParent", _UNACCEPTABLE),
    # YAML, TOML, INI, property lists
    **within("yaml ruamel _ruamel_yaml strictyaml", "YAMLError YAMLStreamError MarkedYAMLError", _UNREADABLE),
    **within("yaml ruamel", "RepresenterError SerializerError EmitterError", _UNACCEPTABLE),
    **within("strictyaml", "YAMLValidationError YAMLSerializationError InvalidValidatorError", _UNACCEPTABLE),
    **within("toml", "TomlDecodeError", _UNREADABLE),
    **within("tomllib tomli rtoml _rtoml pytoml", "TOMLDecodeError TomlParsingError TomlError", _UNREADABLE),
    **within("rtoml", "TomlSerializationError", _UNACCEPTABLE),
    **within("tomlkit", "TOMLKitError", _UNREADABLE),
    **within("tomlkit", "NonExistentKey", _MISMATCH),
    **within("tomlkit", "ConvertError", _UNACCEPTABLE),
    **within("configparser", "Error", _UNREADABLE),
    **within("configparser", "NoSectionError NoOptionError InterpolationMissingOptionError", _MISMATCH),
    **within("configobj", "ConfigObjError", _UNREADABLE),
    **within("configobj", "MissingInterpolationOption UnreprError", _MISMATCH),
    **within("plistlib", "InvalidFileException", _UNREADABLE),
    **within("hcl2 pyhocon", "ConfigException", _UNREADABLE),
    **within("pyhocon", "ConfigMissingException ConfigWrongTypeException", _MISMATCH),
    # Python's own formats
    **within("_pickle pickle", "PickleError UnpicklingError", _UNREADABLE),
    **within("_pickle pickle", "PicklingError", _UNACCEPTABLE),
    **within("dill", "UnpicklingError", _UNREADABLE),
    **within("dill", "PicklingError", _UNACCEPTABLE),
    **within("struct _struct xdrlib binascii uu", "error Error Incomplete", _UNREADABLE),
    **within("jsonpickle", "ClassNotFoundError", _MISMATCH),
    # binary formats
    **within(
        "msgpack srsly umsgpack", "UnpackException UnpackValueError ExtraData FormatError StackError", _UNREADABLE
    ),
    **within("msgpack srsly", "OutOfData BufferFull", _UNREADABLE),
    **within("msgpack srsly umsgpack", "PackException PackValueError PackOverflowError", _UNACCEPTABLE),
    **within("cbor2 _cbor2", "CBORError CBORDecodeError CBORDecodeEOF CBORDecodeValueError", _UNREADABLE),
    **within("cbor2 _cbor2", "CBOREncodeError CBOREncodeTypeError CBOREncodeValueError", _UNACCEPTABLE),
    **within("bson", "BSONError InvalidBSON", _UNREADABLE),
    **within("bson", "InvalidDocument InvalidId InvalidStringData MissingClassDefinition", _UNACCEPTABLE),
    **within("ormsgpack", "MsgpackDecodeError", _UNREADABLE),
    **within("ormsgpack", "MsgpackEncodeError", _UNACCEPTABLE),
    **within("flatbuffers", "BuilderNotFinishedError", _UNACCEPTABLE),
    **within("capnp", "KjException", _UNREADABLE),
    **within("asn1crypto pyasn1", "PyAsn1Error SubstrateUnderrunError EndOfStreamError", _UNREADABLE),
    **within("pyasn1", "ValueConstraintError", _UNACCEPTABLE),
    **within("construct", "ConstructError StreamError", _UNREADABLE),
    **within("construct", "ValidationError CheckError ConstError", _UNACCEPTABLE),
    # Protobuf
    **exactly("google.protobuf.message.Error google.protobuf.message.DecodeError", _UNREADABLE),
    **exactly("google.protobuf.text_format.Error google.protobuf.json_format.Error", _UNREADABLE),
    "google.protobuf.json_format.ParseError": _protobuf_json,
    **exactly("google.protobuf.message.EncodeError", _UNACCEPTABLE),
    **exactly("google.protobuf.json_format.SerializeToJsonError", _UNACCEPTABLE),
    **exactly("google.protobuf.descriptor.Error google.protobuf.descriptor_database.Error", _MISMATCH),
    **exactly("google.protobuf.runtime_version.VersionError", _MISSING_PART),
    # Avro
    **within("avro", "AvroException SchemaParseException SchemaResolutionException AvroTypeException", _MISMATCH),
    **within("avro", "InvalidAvroBinaryEncoding DataFileException UnsupportedCodec", _UNREADABLE),
    **within(
        "avro", "AvroOutOfScaleException AvroCollectionSizeException AvroDecompressionSizeException", _UNACCEPTABLE
    ),
    **within("avro", "AvroRemoteException ConnectionClosedException IONotReadyException", _CUT_OFF),
    **within("fastavro", "SchemaResolutionError SchemaParseException UnknownType SchemaRepositoryError", _MISMATCH),
    **within("fastavro", "ReadError", _UNREADABLE),
    **within("fastavro", "ValidationError", _UNACCEPTABLE),
    # mail and HTTP headers
    **within("email", "MessageError MessageParseError MessageDefect CharsetError", _UNREADABLE),
    **within("flanker", "MimeError DecodingError", _UNREADABLE),
    **within("mailbox", "FormatError", _UNREADABLE),
    **within("mailbox", "NoSuchMailboxError NotEmptyError", permanent(ErrorType.FILESYSTEM)),
    **within("mailbox", "ExternalClashError", transient(ErrorType.FILESYSTEM)),
    **exactly("http.cookies.CookieError http.cookiejar.LoadError", _UNREADABLE),
    **within(
        "multipart python_multipart", "MultipartError FormParserError ParseError QuerystringParseError", _UNREADABLE
    ),
    # EDI, health, finance: formats that jobs read
    **within("hl7", "ParseException HL7Exception MalformedSegmentException", _UNREADABLE),
    **within("hl7apy", "HL7apyException ParserError", _UNREADABLE),
    **within("hl7apy", "ValidationError", _UNACCEPTABLE),
    **within("pydicom", "InvalidDicomError BytesLengthException", _UNREADABLE),
    **within("ofxparse ofxtools", "OfxParserException ParseError OFXHeaderError", _UNREADABLE),
    **within("pymarc", "PymarcException", _UNREADABLE),
    **within("bibtexparser", "UndefinedString ParsingException", _UNREADABLE),
}

FAMILY = Family(name="serialisation", classes=_RULES)
