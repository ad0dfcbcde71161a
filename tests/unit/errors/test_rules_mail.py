"""Mail and files of the older protocols: real clients of the standard library against a tiny server that refuses."""

from __future__ import annotations

import contextlib
import ftplib
import imaplib
import poplib
import smtplib
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from celery_recovery.errors import ErrorInfo, ErrorType, classify
from celery_recovery.errors.rules.mail import by_smtp_code
from tests.unit.errors.lookalike import lookalike

Replies = dict[bytes, bytes | None]


@contextlib.contextmanager
def line_server(greeting: bytes, answer: Callable[[bytes], bytes | None]) -> Iterator[int]:
    """One connection; every line is answered by `answer` (None: hang up). Gives the port."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with contextlib.suppress(OSError), listener, listener.accept()[0] as conn, conn.makefile("rb") as lines:
            conn.sendall(greeting)
            for line in lines:
                reply = answer(line)
                if reply is None:
                    return
                conn.sendall(reply)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        listener.close()
        thread.join(5)


def by_word(replies: Replies, otherwise: bytes) -> Callable[[bytes], bytes | None]:
    """Answers by the first word of the line."""
    return lambda line: replies.get(line.split()[0].upper() if line.split() else b"", otherwise)


def caught(run: Callable[[], object]) -> ErrorInfo:
    """What the classifier says of the exception that `run` raises."""
    try:
        run()
    except Exception as error:  # noqa: BLE001 (whatever it is, it is what the test is about)
        return classify(error)
    pytest.fail("nothing was raised")


def send(replies: Replies, greeting: bytes = b"220 ready\r\n", to: tuple[str, ...] = ("a@example.com",)) -> ErrorInfo:
    accepting = {b"DATA": b"354 go\r\n", b"AUTH": b"235 in\r\n", b"EHLO": b"250-me\r\n250 AUTH PLAIN\r\n"}
    with line_server(greeting, by_word({**accepting, **replies}, b"250 ok\r\n")) as port:

        def deliver() -> None:
            with contextlib.closing(smtplib.SMTP("127.0.0.1", port, "client", timeout=5)) as client:
                if b"AUTH" in replies:
                    client.login("user", "password")
                client.sendmail("me@example.com", to, "Subject: hi\r\n\r\nhello\r\n")

        return caught(deliver)


@pytest.mark.parametrize(
    ("replies", "code", "retryable"),
    [
        ({b"MAIL": b"451 4.3.0 try later\r\n"}, "SMTP 451 4.3.0", True),
        ({b"MAIL": b"553 bad mailbox\r\n"}, "SMTP 553", False),
        ({b"RCPT": b"450 4.2.0 greylisted\r\n"}, "SMTP 450 4.2.0", True),
        ({b"RCPT": b"550 5.1.1 no such user\r\n"}, "SMTP 550 5.1.1", False),
        ({b"DATA": b"554 5.7.1 rejected\r\n"}, "SMTP 554 5.7.1", False),
        ({b"AUTH": b"535 5.7.8 bad credentials\r\n"}, "SMTP 535 5.7.8", False),
        ({b"AUTH": b"454 4.7.0 temporary failure\r\n"}, "SMTP 454 4.7.0", True),
    ],
)
def test_smtp_replies_of_the_fourth_class_are_transient_and_of_the_fifth_permanent(
    replies: Replies, code: str, retryable: bool
) -> None:
    """RFC 5321 section 4.2.1, whichever command was refused."""
    info = send(replies)
    assert (info.error_code, info.is_retryable) == (code, retryable)


def test_smtp_server_that_is_busy_at_connect_is_transient() -> None:
    """421 in the greeting: service not available."""
    info = send({}, greeting=b"421 too busy\r\n")
    assert (info.error_type, info.error_code, info.is_retryable) == (ErrorType.NETWORK, "SMTP 421", True)


def test_smtp_server_that_hangs_up_is_transient() -> None:
    """SMTPServerDisconnected has no code."""
    assert send({b"MAIL": None}).is_retryable


def test_one_recipient_that_may_be_accepted_later_makes_the_delivery_worth_another_go() -> None:
    """All recipients are refused, one of them for now."""
    refused = {"a@example.com": (550, b"5.1.1 unknown"), "b@example.com": (450, b"4.2.0 greylisted")}
    info = classify(smtplib.SMTPRecipientsRefused(refused))
    assert (info.error_code, info.is_retryable) == ("SMTP 450 4.2.0", True)
    assert not classify(smtplib.SMTPRecipientsRefused({"a@example.com": (550, b"no")})).is_retryable


def test_aiosmtplib_keeps_one_exception_for_each_recipient() -> None:
    """Its SMTPRecipientsRefused holds a list of exceptions, not a dict of replies."""
    one: Any = lookalike(
        "aiosmtplib.errors.SMTPRecipientRefused", lookalike("aiosmtplib.errors.SMTPResponseException")
    )()
    one.code, one.message = 450, "4.2.0 later"
    every: Any = lookalike("aiosmtplib.errors.SMTPRecipientsRefused")()
    every.recipients = [one]
    assert classify(every).is_retryable


def test_a_code_that_is_no_reply_means_a_dialogue_out_of_step() -> None:
    """Smtplib reports -1 when nothing could be read."""
    verdict = by_smtp_code(-1)
    assert verdict is not None
    assert verdict.retryable
    assert by_smtp_code("ok") is None


def ftp(replies: Replies, run: Callable[[ftplib.FTP], object]) -> ErrorInfo:
    accepting = {b"USER": b"331 password\r\n", b"PASS": b"230 in\r\n"}
    with line_server(b"220 ftp\r\n", by_word({**accepting, **replies}, b"250 ok\r\n")) as port:

        def work() -> None:
            with contextlib.closing(ftplib.FTP(timeout=5)) as client:
                client.connect("127.0.0.1", port)
                client.login("u", "p")
                run(client)

        return caught(work)


@pytest.mark.parametrize(
    ("reply", "error_type", "retryable"),
    [
        (b"421 too many users", ErrorType.NETWORK, True),
        (b"450 file busy", ErrorType.FILESYSTEM, True),
        (b"452 disk full", ErrorType.FILESYSTEM, True),
        (b"550 no such file", ErrorType.FILESYSTEM, False),
        (b"553 bad name", ErrorType.FILESYSTEM, False),
        (b"500 what", ErrorType.VALIDATION, False),
    ],
)
def test_ftp_replies(reply: bytes, error_type: ErrorType, retryable: bool) -> None:
    """RFC 959: the first digit says whether to come back, the second whether it is about files."""
    info = ftp({b"DELE": reply + b"\r\n"}, lambda client: client.delete("a"))
    assert (info.error_type, info.is_retryable) == (error_type, retryable)
    assert info.error_code == f"FTP {reply[:3].decode()}"


def test_an_ftp_login_is_refused_for_good_unless_the_server_is_full() -> None:
    """530 stands for bad credentials and, in the words of many servers, for too many users."""
    assert not ftp({b"PASS": b"530 login incorrect\r\n"}, lambda _: None).is_retryable
    assert ftp({b"PASS": b"530 sorry, too many users, try again later\r\n"}, lambda _: None).is_retryable


@pytest.mark.parametrize(
    ("reply", "retryable"),
    [
        (b"-ERR [SYS/TEMP] try again", True),
        (b"-ERR [IN-USE] maildrop locked", True),
        (b"-ERR [AUTH] invalid credentials", False),
        (b"-ERR [SYS/PERM] no such account", False),
        (b"-ERR authentication failed", False),
    ],
)
def test_pop3_response_codes(reply: bytes, retryable: bool) -> None:
    """RFC 2449 and RFC 3206: the code in brackets tells; without one, the words."""
    with line_server(b"+OK ready\r\n", by_word({b"PASS": reply + b"\r\n"}, b"+OK\r\n")) as port:

        def work() -> None:
            with contextlib.closing(poplib.POP3("127.0.0.1", port, timeout=5)) as client:
                client.user("u")
                client.pass_("p")

        assert caught(work).is_retryable is retryable


@pytest.mark.parametrize(
    ("reply", "retryable"),
    [
        (b"NO [UNAVAILABLE] directory is down", True),
        (b"NO [LIMIT] too many connections", True),
        (b"NO [INUSE] mailbox in use", True),
        (b"NO [AUTHENTICATIONFAILED] invalid credentials", False),
        (b"NO login failed", False),
        (b"BAD unknown command", False),
        (None, True),
    ],
)
def test_imap_response_codes(reply: bytes | None, retryable: bool) -> None:
    """RFC 5530; a connection that ends is `abort`, which imaplib itself says to try again."""

    def answer(line: bytes) -> bytes | None:
        tag, command = line.split()[:2]
        if command == b"CAPABILITY":
            return b"* CAPABILITY IMAP4REV1\r\n" + tag + b" OK done\r\n"
        return None if reply is None else tag + b" " + reply + b"\r\n"

    with line_server(b"* OK ready\r\n", answer) as port:

        def work() -> None:
            client = imaplib.IMAP4("127.0.0.1", port, timeout=5)
            try:
                client.login("u", "p")
            finally:
                client.shutdown()

        assert caught(work).is_retryable is retryable


def test_nntp_is_transient_only_while_the_service_is_away() -> None:
    """RFC 3977: 400 and 403 pass, 411 (no such group) and 502 (no permission) do not."""
    reply = lookalike("nntplib.NNTPTemporaryError", lookalike("nntplib.NNTPError"))
    assert classify(reply("400 service discontinued")).is_retryable
    assert not classify(reply("411 no such group")).is_retryable
    assert not classify(lookalike("nntplib.NNTPPermanentError", lookalike("nntplib.NNTPError"))("502 no")).is_retryable
