"""From one copy of a task to the next: what custody and the letters are told before, and after, something is published.

announced   before a retry or a letter is published: which copy follows, or what the letter will say
ended       after a letter is safe, or the message was given back
completed   after a success is stored
settled     the message needs nothing more
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal

from celery.app.task import Context
from celery.exceptions import Ignore, Reject

from celery_recovery import clock
from celery_recovery.actions import Failure
from celery_recovery.admission import passage_of, replay_of
from celery_recovery.dead_letters.state import LetterState
from celery_recovery.exceptions import StoreUnavailable
from celery_recovery.identity import me
from celery_recovery.parts import Parts
from celery_recovery.telling import exception_told

__all__ = ("HandingOver",)

logger = logging.getLogger("celery_recovery")


class HandingOver(Parts):
    """Nothing here fails a task: what cannot be told, because Redis is away, costs at most a twin."""

    def announced(self, failure: Failure, letter: Mapping[str, Any] | None) -> tuple[Failure, bool, Any]:
        """Say what will follow before it is published: this letter, or (None) the next attempt.

        With it `Custody.leave`'s answer: whether to go on, and the letter that is known of it already.
        """
        onward = failure.passage.next()
        if failure.passage.life and self.custody is not None:
            copy, worker = "" if letter is not None else onward.copy, failure.request.hostname or ""
            try:
                go, told = self.custody.leave(failure.passage, copy, me().boot, worker, letter)
            except StoreUnavailable as exc:
                self._unannounced(failure, exc)
            else:
                return replace(failure, onward=onward), go, told
        return replace(failure, onward=replace(onward, copy="")), True, None  # nobody was told of it: it is not missed

    def taken_over(self, failure: Failure, ended: Any) -> BaseException:
        """The exception that the letter tells of, so that the caller sees no other; else nothing is left to say."""
        told = ended.get("exc") if isinstance(ended, Mapping) else None
        context = {"action": "taken_over", "task": failure.task.name, "task_id": failure.request.id}
        logger.info("the end of %s[%s] was seen to elsewhere", failure.task.name, failure.request.id, extra=context)
        found = failure.task.backend.exception_to_python(told) if told else None
        return found if isinstance(found, Exception) else Ignore("its end was seen to elsewhere")

    def ended(self, failure: Failure, outcome: BaseException) -> None:
        """The letter is safe, or the message goes back to the broker: note it, so that no copy runs for nothing."""
        if self.custody is None or not failure.passage.life:
            return
        given_back = isinstance(outcome, Reject)
        told = {"how": "letter"} if isinstance(outcome, Ignore) else {"how": "letter", "exc": exception_told(outcome)}
        try:
            self.custody.end(failure.passage, "waiting" if given_back else "done", None if given_back else told)
        except StoreUnavailable as exc:
            self._unannounced(failure, exc)

    def _unannounced(self, failure: Failure, exc: Exception) -> None:
        context = {"action": "unannounced", "task": failure.task.name, "task_id": failure.request.id}
        where = (failure.task.name, failure.request.id)
        logger.warning(
            "%s[%s]: a copy of it, should there be one, will not be recognised: %s", *where, exc, extra=context
        )

    def close_letter(self, request: Context, how: str, state: LetterState) -> None:
        """Write the end of a replay back on its letter; without a store there is nothing to write on."""
        replay = replay_of(request)
        if replay is None or self.store is None:
            return
        runtime = clock.monotonic() - request.__dict__.get("recovery_running", clock.monotonic())
        try:
            if how == "recovered":
                self.store.recovered(request.id, replay["copy"], runtime, request.hostname or "")
            else:
                self.store.settle(request.id, replay["copy"], state, how)
        except StoreUnavailable as exc:
            context = {"action": "outcome_not_noted", "task_id": request.id, "reason": how}
            logger.error("a replay of %s ended (%s); its letter missed it: %s", request.id, how, exc, extra=context)

    def completed(self, request: Context) -> None:
        """The result is stored, or owed: tell the letter, where this was a replay, and custody, where it asked.

        Only now: a worker that dies before it leaves a task that is run again, and not one that is taken for done.
        """
        try:
            self.close_letter(request, "recovered", LetterState.RECOVERED)
        except Exception:
            logger.exception("the success of %s was not recorded", request.id, extra={"action": "not_recorded"})
        if "recovery_claimed" in request.__dict__:
            self.settled(request, "done")

    def settled(self, request: Context, state: Literal["done", "left", "waiting"]) -> None:
        """Note that this message needs nothing more: what comes again of it is a twin. Never raises."""
        passage = passage_of(request)
        if self.custody is None or not passage.life:
            return
        try:
            self.custody.end(passage, state)
        except StoreUnavailable as exc:
            context = {"action": "unannounced", "task_id": request.id}
            logger.warning("%s has ended (%s), which could not be noted: %s", request.id, state, exc, extra=context)
