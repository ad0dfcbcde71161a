"""The services that the other tests stand on do what they promise."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import redis
from celery import Celery
from kombu import Connection

from tests.services import RabbitServer, RedisServer, Worker, wait_until

ROOT = Path(__file__).resolve().parents[2]


def alive(pid: int) -> bool:
    """False for a process that is gone or only waits to be collected."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.redis
def test_each_test_gets_an_empty_database(redis_url: str, other_redis_url: str) -> None:
    """Two urls of one test do not see each other."""
    with redis.Redis.from_url(redis_url) as one, redis.Redis.from_url(other_redis_url) as other:
        one.set("key", "value")
        assert other.dbsize() == 0


@pytest.mark.redis
@pytest.mark.faults
def test_a_killed_redis_keeps_what_it_confirmed(own_redis: RedisServer) -> None:
    """SIGKILL and start: the same port, the same data."""
    with redis.Redis.from_url(own_redis.url()) as client:
        client.set("key", "value")
        own_redis.kill()
        assert not own_redis.answers()
        own_redis.start()
        assert client.get("key") == b"value"


@pytest.mark.redis
@pytest.mark.faults
def test_a_paused_redis_does_not_answer(own_redis: RedisServer) -> None:
    """SIGSTOP: the port is open, nothing comes back; SIGCONT: it does."""
    own_redis.pause()
    assert not own_redis.answers()
    own_redis.resume()
    wait_until(own_redis.answers)


@pytest.mark.rabbitmq
@pytest.mark.faults
def test_a_killed_rabbitmq_keeps_what_it_confirmed(own_rabbit: RabbitServer) -> None:
    """SIGKILL and start: a confirmed persistent message is still there."""
    url = own_rabbit.fresh_url()
    with Connection(url, transport_options={"confirm_publish": True}) as link:
        link.SimpleQueue("letters").put({"id": 1})
    own_rabbit.kill()
    own_rabbit.start()
    with Connection(url) as link:
        message = link.SimpleQueue("letters").get(timeout=10)
        assert message.payload == {"id": 1}
        message.ack()


@pytest.mark.rabbitmq
def test_virtual_hosts_are_apart(rabbit_server: RabbitServer) -> None:
    """A queue of one test is not seen by the next."""
    with Connection(rabbit_server.fresh_url()) as one, Connection(rabbit_server.fresh_url()) as other:
        one.SimpleQueue("letters").put("x")
        assert other.SimpleQueue("letters").qsize() == 0


@pytest.mark.parametrize("pool", ["prefork", "threads", "solo", "gevent"])
def test_a_worker_runs_tasks(pool: str, broker_url: str, other_redis_url: str, worker: Callable[..., Worker]) -> None:
    """Every pool, on both brokers, in processes of its own; a warm stop ends with 0."""
    env = {"CELERY_BROKER_URL": broker_url, "CELERY_RESULT_BACKEND": other_redis_url}
    running = worker("tests.services.plain_app", pool=pool, env=env)
    with Celery(broker=broker_url, backend=other_redis_url) as caller:
        answer = caller.send_task("tests.services.plain_app.process_id").get(timeout=10)
    own_processes = {running.pid, *running.children}
    assert answer in own_processes
    assert running.stop() == 0


@pytest.mark.redis
@pytest.mark.faults
def test_a_killed_worker_takes_its_pool_along(redis_url: str, worker: Callable[..., Worker]) -> None:
    """After `kill` neither the main process nor a child is left."""
    running = worker("tests.services.plain_app", env={"CELERY_BROKER_URL": redis_url})
    children = running.children
    assert children
    running.kill()
    assert not running.running
    wait_until(lambda: not any(map(alive, children)))


@pytest.mark.redis
@pytest.mark.faults
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a child of its parent's death")
def test_a_server_dies_with_its_parent(redis_server: RedisServer, tmp_path: Path) -> None:
    """A test run that is killed with SIGKILL leaves no server behind."""
    pid = killed_with_a_server(tmp_path)
    wait_until(lambda: not alive(pid))


@pytest.mark.redis
@pytest.mark.faults
def test_a_directory_that_was_left_behind_is_removed_by_the_next(redis_server: RedisServer, tmp_path: Path) -> None:
    """Once its process is gone; one whose process lives, or that is being made, is left alone."""
    killed_with_a_server(tmp_path)
    (left,) = tmp_path.iterdir()
    script = "from tests.services import RedisServer; RedisServer().close()"
    env = {**os.environ, "TMPDIR": str(tmp_path)}
    for age, there in ((0, [left]), (3600, [])):
        os.utime(left / "owner.lock", (time.time() - age,) * 2)
        subprocess.run([sys.executable, "-c", script], check=True, cwd=ROOT, env=env)
        assert list(tmp_path.iterdir()) == there
    assert redis_server.directory.exists()


def killed_with_a_server(directory: Path) -> int:
    """Run a process that starts a Redis, and kill it; returns the pid of that Redis, which may take a moment to end."""
    script = "from tests.services import RedisServer; s = RedisServer().start(); print(s.pid, flush=True); input()"
    env = {**os.environ, "TMPDIR": str(directory)}
    parent = subprocess.Popen(
        [sys.executable, "-c", script], cwd=ROOT, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    assert alive(pid)
    os.kill(parent.pid, signal.SIGKILL)
    parent.communicate()
    return pid


@pytest.mark.redis
def test_a_server_of_a_cluster_has_a_port_for_its_bus() -> None:
    """Ten thousand above its own, of which one that the system had chosen could be beyond the last."""
    for _ in range(3):
        with RedisServer(options=("--cluster-enabled", "yes")) as server:
            assert server.port + 10_000 < 32_768
            assert server.answers()


@pytest.mark.rabbitmq
def test_virtual_hosts_never_run_out(own_rabbit: RabbitServer) -> None:
    """When the first batch is used up, the running broker gets another."""
    urls = [own_rabbit.fresh_url() for _ in range(3)]
    assert len(set(urls)) == 3
    with Connection(urls[-1]) as link:
        link.SimpleQueue("letters").put("x")
        assert link.SimpleQueue("letters").qsize() == 1
