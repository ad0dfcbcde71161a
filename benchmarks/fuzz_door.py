"""What comes in through the door: real messages, broken at random, and what becomes of each.

    python benchmarks/fuzz_door.py [MESSAGES] [SEED] [LIVE]

First MESSAGES (default 100,000) go through a real consumer's handler in this process, with only the publisher's end a
fake; each must be run or kept, whole, and be acknowledged once. Then LIVE of them (default 2,000; 0: none) go to a real
worker process on a private Redis, and as many to one on a private RabbitMQ: it must be the same process at the end,
with no restart in its log, and *submitted = ran + kept + expired + parked*. The seed is printed; with it a run is
repeated.
"""

from __future__ import annotations

import base64
import json
import logging
import os
import random
import re
import secrets
import sys
import tempfile
import time
import uuid
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import redis
from celery import Celery
from kombu.utils.json import dumps

sys.path.insert(0, str(Path(__file__).parents[1]))

from celery_recovery import Recovery
from celery_recovery.dead_letters.letter import Letter
from celery_recovery.identity import IDENTITY
from tests.broken_messages import Broken, Entrance, broken
from tests.services import RabbitServer, RedisServer, Worker

RESTARTS = re.compile(r"Connection to broker lost|Unrecoverable error|Frequent restarts|Traceback")
CHECK_EVERY = 500
SHOW_EVERY = 10_000


def main(count: int, seed: int, live: int) -> bool:
    """Run both parts; whether all went well."""
    print(f"seed {seed}")
    well = in_process(count, random.Random(seed))
    if live:
        os.environ.pop(IDENTITY, None)  # the consumer above has made this process a worker; the next one is no child
        with RedisServer() as store:
            with RedisServer() as broker:
                well &= on_worker("redis", broker.url(0), store.url(0), live, random.Random(seed + 1))
            with RabbitServer() as rabbit:
                well &= on_worker("rabbitmq", rabbit.url(), store.url(1), live, random.Random(seed + 2))
    return well


def in_process(count: int, dice: random.Random) -> bool:
    """The handler alone."""
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    entrance, begun = Entrance(), time.perf_counter()
    waiting_for: list[Broken] = []
    reasons: Counter[str] = Counter()
    raised = changed = kept = 0
    for number in range(1, count + 1):
        message = broken(dice)
        try:
            entrance.submit(message)
            waiting_for.append(message)
        except Exception as exc:  # noqa: BLE001  # that is what is looked for
            raised += 1
            print(f"  raised {exc!r} over {str(message)[:300]}")
        if number % CHECK_EVERY == 0 or number == count:
            entrance.settle()
            changed += _changed(entrance.letters, waiting_for)
            reasons.update(letter.error.rule for letter in entrance.letters)
            kept += len(entrance.letters)
            entrance.letters.clear()
            waiting_for.clear()
        if number % SHOW_EVERY == 0 or number == count:
            rate = number / (time.perf_counter() - begun)
            print(f"  {number:7d} of {count}   ran {entrance.ran}   kept {kept}   {rate:.0f} a second", flush=True)
    logging.disable(logging.NOTSET)
    lost = entrance.unsettled - entrance.waiting
    ended = count - entrance.ran - kept - entrance.waiting
    print(f"in process: {count} = {entrance.ran} ran + {kept} kept + {entrance.waiting} waiting for their time "
          f"+ {ended} expired; raised {raised}, not acknowledged once {lost}, changed {changed}")  # fmt: skip
    print(f"  {dict(reasons.most_common())}")
    return not (raised or lost or changed or ended < 0)


def _changed(letters: list[Letter], messages: list[Broken]) -> int:
    """Letters that are of no message: each must be one, whole."""
    known = Counter(repr(_core(message.body, message.headers)) for message in messages)
    wrong = 0
    for letter in letters:
        if letter.raw:
            key = repr(_core(letter.body, letter.headers))
            known[key] -= 1
            wrong += known[key] < 0
    return wrong


def _core(body: bytes, headers: dict[str, Any]) -> Any:
    return body, sorted((key, repr(value)) for key, value in headers.items() if key not in _OF_A_DELIVERY)


_OF_A_DELIVERY = ("recovery", "redelivered", "delivery_info", "delivery_tag")


def on_worker(name: str, url: str, ledger: str, count: int, dice: random.Random) -> bool:
    """A real worker process, prefork."""
    env = {"CELERY_BROKER_URL": url, "CELERY_RESULT_BACKEND": ledger, "JOBS_LEDGER": ledger,
           "JOBS_CONF": json.dumps({"recovery_intake": False})}  # fmt: skip
    worker = Worker("tests.apps.door", env=env).wait_ready()
    try:
        app = Celery("fuzz", broker=url, backend=ledger, set_as_current=False)
        pid, children = worker.pid, worker.children
        sent = send(app, [_own(broken(dice)) for _ in range(count)])
        ran, kept, expired, parked = _wait(app, worker, ledger, sent)
        calm = not RESTARTS.search(worker.log)
        same_process = worker.running and worker.pid == pid and worker.children == children
    finally:
        worker.kill()
        log = Path(tempfile.gettempdir(), f"fuzz-door-{name}.log")
        log.write_text(worker.log)
        print(f"  the worker's log: {log}")
    print(f"{name}: {sent} submitted = {ran} ran + {kept} kept + {expired} expired + {parked} parked   "
          f"same processes: {same_process}   no restart: {calm}")  # fmt: skip
    if not calm:
        print("\n".join(line for line in worker.log.splitlines() if RESTARTS.search(line))[:2000])
    return sent == ran + kept + expired + parked and same_process and calm


def _own(message: Broken) -> Broken:
    """With nothing in it that is told by id, so that no two are one."""
    if isinstance(message.headers.get("id"), str):
        message.headers["id"] += str(uuid.uuid4())
    return message


def send(app: Celery, messages: list[Broken]) -> int:
    """Put them into the queue, as far as the broker takes them; how many it took."""
    sent = 0
    with app.connection_for_write(transport_options={"confirm_publish": True}) as connection:
        channel = connection.default_channel
        app.amqp.queues["celery"](channel).declare()
        for message in messages:
            sent += _pushed(channel, message) if hasattr(channel, "client") else _published(connection, message)
    return sent


def _pushed(channel: Any, message: Broken) -> int:
    """Into Redis: an envelope as kombu writes it."""
    tag = str(uuid.uuid4())
    properties = {**message.properties, "delivery_tag": tag, "body_encoding": "base64",
                  "delivery_info": {"exchange": "", "routing_key": "celery"}}  # fmt: skip
    envelope = {"body": base64.b64encode(message.body).decode(), "headers": message.headers, "properties": properties,
                "content-type": message.content_type, "content-encoding": message.content_encoding}  # fmt: skip
    try:
        item = dumps(envelope)
    except (TypeError, ValueError, RecursionError):
        return 0
    channel.client.lpush("celery", item)
    return 1


def _published(connection: Any, message: Broken) -> int:
    """To RabbitMQ, which refuses what its protocol does not know."""
    properties = {
        key: value for key, value in message.properties.items() if isinstance(value, str) and len(value) < 200
    }
    properties.pop("expiration", None)
    content = (message.content_type or "application/data", message.content_encoding or "binary")
    try:
        connection.Producer(channel=connection.default_channel).publish(
            message.body, routing_key="celery", headers=message.headers, content_type=content[0],
            content_encoding=content[1], **properties,
        )  # fmt: skip
    except Exception:  # noqa: BLE001  # whatever its client says
        connection.collect()
        return 0
    return 1


def _wait(app: Celery, worker: Worker, ledger: str, sent: int) -> tuple[int, int, int, int]:
    """What became of them, once it adds up, or nothing has changed for a while."""
    client = redis.Redis.from_url(ledger)
    queue = Recovery.of(app).dead_letter_queue
    known, since = (0, 0, 0, 0), time.monotonic()
    while time.monotonic() - since < 15 and worker.running:
        with app.connection_for_read() as connection:
            kept = queue(connection.default_channel).queue_declare(passive=False).message_count
        log = worker.log
        ran, expired, parked = client.llen("ledger:door"), log.count("Discarding revoked"), log.count(" is parked for")
        if (ran, kept, expired, parked) != known:
            known, since = (ran, kept, expired, parked), time.monotonic()
            print(f"  {sum(known):6d} of {sent}", flush=True)
        if sum(known) == sent:
            break
        time.sleep(0.5)
    return known


if __name__ == "__main__":
    given = [int(text) for text in sys.argv[1:]]
    defaults = [100_000, secrets.randbelow(2**32), 2000]
    sys.exit(not main(*(given + defaults[len(given) :])))
