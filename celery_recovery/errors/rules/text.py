"""Text with a grammar: templates, markup, source code, patterns, dates, time zones, numbers, locales, addresses.

What cannot be read is a parsing fault. A variable that the template expects and nobody gave is a schema fault.
"""

from __future__ import annotations

from typing import Any

from celery_recovery.errors.model import ErrorSeverity, ErrorType
from celery_recovery.errors.reading import attr, cause_of
from celery_recovery.errors.rules.naming import exactly, within
from celery_recovery.errors.rules.rule import Answer, Family, Look, Through, Verdict, permanent

__all__ = ("FAMILY",)

_UNREADABLE = permanent(ErrorType.PARSING)
_UNACCEPTABLE = permanent(ErrorType.VALIDATION)
_MISMATCH = permanent(ErrorType.SCHEMA)
_NO_FILE = permanent(ErrorType.FILESYSTEM)
_SETUP = permanent(ErrorType.SYSTEM, severity=ErrorSeverity.HIGH)


def _visit(exc: Any) -> Answer:
    """A visitor's own exception, kept while the tree is walked."""
    inner = attr(exc, "orig_exc")
    return Through(inner if isinstance(inner, BaseException) else cause_of(exc), _UNACCEPTABLE)


_RULES: dict[str, Verdict | Look] = {
    # templates
    **within("jinja2", "TemplateError TemplateSyntaxError TemplateAssertionError", _UNREADABLE),
    **within("jinja2", "UndefinedError", _MISMATCH),
    **within("jinja2", "TemplateNotFound TemplatesNotFound", _NO_FILE),
    **within("jinja2", "TemplateRuntimeError FilterArgumentError SecurityError", _UNACCEPTABLE),
    **within("mako", "MakoException CompileException SyntaxException", _UNREADABLE),
    **within("mako", "TemplateLookupException TopLevelLookupException", _NO_FILE),
    **within("mako", "RuntimeException", _UNACCEPTABLE),
    **within("chevron pystache", "ChevronError ParsingError PystacheError", _UNREADABLE),
    **within("pystache", "TemplateNotFoundError", _NO_FILE),
    **within("pystache", "KeyNotFoundError", _MISMATCH),
    **within("liquid", "LiquidError LiquidSyntaxError Error", _UNREADABLE),
    **within("liquid", "UndefinedError", _MISMATCH),
    **within("liquid", "TemplateNotFound TemplateNotFoundError", _NO_FILE),
    **within("premailer mjml", "ExternalFileLoadingError", _NO_FILE),
    # markup
    **within("docutils", "ApplicationError DataError SystemMessage MarkupMismatch DirectiveError", _UNREADABLE),
    **within("docutils", "StateMachineError MathError CircularSubstitutionDefinitionError", _UNREADABLE),
    **within("docutils", "ValidationError", _UNACCEPTABLE),
    **exactly("docutils.io.InputError docutils.io.OutputError", _NO_FILE),
    **within("nbformat", "NBFormatError NotJSONError", _UNREADABLE),
    **within("nbformat", "ValidationError NotebookValidationError", _UNACCEPTABLE),
    # grammars
    **exactly("tokenize.TokenError re.error re.PatternError sre_constants.error shlex.Error", _UNREADABLE),
    **within("regex", "error ParseError", _UNREADABLE),
    **within("re2 _re2", "error Error", _UNREADABLE),
    **within(
        "pyparsing", "ParseBaseException ParseException ParseSyntaxException RecursiveGrammarException", _UNREADABLE
    ),
    **within("lark", "LarkError UnexpectedInput ParseError LexError", _UNREADABLE),
    **within("lark parsimonious", "VisitError VisitationError", _visit),
    **within("parsimonious", "ParseError ParsimoniousError IncompleteParseError BadGrammar", _UNREADABLE),
    **within("arpeggio textx ply", "NoMatch SemanticError TextXError TextXSyntaxError LexError YaccError", _UNREADABLE),
    **within("antlr4", "RecognitionException ParseCancellationException", _UNREADABLE),
    **within("tatsu", "ParseException ParseError FailedParse", _UNREADABLE),
    **within("parso", "ParserSyntaxError", _UNREADABLE),
    **within("sqlglot sqlparse", "ParseError TokenError SQLParseError SqlglotError", _UNREADABLE),
    **within("sqlglot", "OptimizeError SchemaError", _MISMATCH),
    **within("sqlglot", "UnsupportedError ExecuteError", _UNACCEPTABLE),
    **within("simpleeval", "InvalidExpression FeatureNotAvailable NumberTooHigh IterableTooLong", _UNACCEPTABLE),
    **within("simpleeval", "TypeNotSpecified FunctionNotDefined NameNotDefined AttributeDoesNotExist", _MISMATCH),
    **within("asteval", "ExceptionHolder", _UNACCEPTABLE),
    **within("libcst black", "ParserSyntaxError InvalidInput", _UNREADABLE),
    **within("netrc", "NetrcParseError", _UNREADABLE),
    # dates and times
    **within("dateutil arrow pendulum", "ParserError ParserMatchError UnknownTimezoneWarning", _UNREADABLE),
    **within("pendulum", "PendulumException", _UNACCEPTABLE),
    **within("iso8601 isodate aniso8601", "ParseError ISO8601Error ISOFormatError", _UNREADABLE),
    **within("croniter cron_descriptor", "CroniterError FormatException MissingFieldException", _UNACCEPTABLE),
    **within("pytz", "Error UnknownTimeZoneError", _UNACCEPTABLE),
    **within("zoneinfo backports", "ZoneInfoNotFoundError", _UNACCEPTABLE),
    **within("pendulum", "TimezoneError", _UNACCEPTABLE),
    **within(
        "whenever", "SkippedTime RepeatedTime InvalidOffset InvalidOffsetError TimeZoneNotFoundError", _UNACCEPTABLE
    ),
    **within("convertdate holidays", "CalendarError", _UNACCEPTABLE),
    **within("icalendar", "InvalidCalendar BrokenCalendarProperty ICalParsingError JCalParsingError", _UNREADABLE),
    **within("icalendar", "IncompleteComponent IncompleteAlarmInformation", _MISMATCH),
    **within("vobject", "VObjectError ParseError NativeError", _UNREADABLE),
    **within("vobject", "ValidateError", _UNACCEPTABLE),
    **within("ics", "ParseError FailedParse", _UNREADABLE),
    # numbers, locales, places, versions
    **within("decimal _decimal", "DecimalException", _UNACCEPTABLE),
    **within("decimal _decimal", "DivisionByZero", permanent(ErrorType.UNKNOWN)),
    **within("statistics", "StatisticsError", _UNACCEPTABLE),
    **within("pint", "PintError UndefinedUnitError DimensionalityError OffsetUnitCalculusError", _UNACCEPTABLE),
    **within("pint", "DefinitionSyntaxError", _UNREADABLE),
    **within("babel", "ParseError NumberFormatError PoFileError RuleError", _UNREADABLE),
    **within("babel", "UnknownLocaleError UnknownCurrencyError UnsupportedNumberingSystemError", _UNACCEPTABLE),
    **within("babel", "TranslationError UnknownUnitError UnknownCurrencyFormatError", _UNACCEPTABLE),
    **within("locale", "Error", _SETUP),
    **within("phonenumbers", "NumberParseException", _UNACCEPTABLE),
    **within(
        "ipaddress netaddr", "AddressValueError NetmaskValueError AddrFormatError AddrConversionError", _UNACCEPTABLE
    ),
    **within("netaddr", "NotRegisteredError", _UNACCEPTABLE),
    **within(
        "packaging pkg_resources", "InvalidVersion InvalidSpecifier InvalidRequirement InvalidMarker", _UNACCEPTABLE
    ),
    **within("semver semantic_version", "ParseVersionError", _UNACCEPTABLE),
    **within("idna", "IDNAError InvalidCodepoint IDNABidiError", _UNACCEPTABLE),
    **within("langdetect", "LangDetectException", _UNACCEPTABLE),
    **within("ftfy chardet charset_normalizer", "UTFDecodeError", _UNREADABLE),
    **within("num2words", "NumberToWordsException", _UNACCEPTABLE),
    **within("qrcode barcode segno", "DataOverflowError BarcodeError IllegalCharacterError", _UNACCEPTABLE),
    **within("barcode", "BarcodeNotFoundError NumberOfDigitsError WrongCountryCodeError", _UNACCEPTABLE),
    # command lines read as data
    **within("argparse optparse getopt", "ArgumentError ArgumentTypeError OptParseError GetoptError", _UNACCEPTABLE),
    **within("docopt", "DocoptLanguageError", _UNREADABLE),
}

FAMILY = Family(name="text", classes=_RULES)
