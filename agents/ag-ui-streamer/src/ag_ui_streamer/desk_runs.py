"""The runs of the live desk: how one begins or is found again, what it works on, and what it leaves in its thread."""

import asyncio
import json
import logging
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from dataclasses import asdict, dataclass
from typing import Any
from weakref import WeakValueDictionary

from agent_runtime.model_errors import ModelError
from agent_runtime.state_store import StateStoreError
from support_desk.desk_tools import ToolError

from ag_ui_streamer.agent import Assistant, AssistantError
from ag_ui_streamer.agui_input import Decided, RunRequest, conversation_of
from ag_ui_streamer.approvals import Answer, Approvals, approves, read_decision
from ag_ui_streamer.emitter import RunEmitter
from ag_ui_streamer.history import messages_of
from ag_ui_streamer.live_runs import LiveRun, LiveRuns, replay, split
from ag_ui_streamer.planner import HAND_OVER, PlanChanged, PlanEnded, Planner, as_progress
from ag_ui_streamer.progress import Interrupted, Progress, Question, StateChanged, ToolResult
from ag_ui_streamer.run_log import Part, RunLog
from ag_ui_streamer.threads import Thread, Threads

logger = logging.getLogger(__name__)

_MOST_ANSWERED = 200
"""How many of a thread's answered questions are known as answered; older ones are unknown."""
_UNAVAILABLE = ("state_unavailable", "The agent's records cannot be reached at this moment. Try again.")
_LEFT = "Nobody decided. The plan stopped before this step; what was done before it stays done."
_WITHDRAWN = "The approval was withdrawn."
_INTERRUPTED = (
    "run_interrupted",
    "The agent was restarted during this run. What it had said is kept. Ask again, and it goes on from there.",
)


class DeskRuns:
    """Begins runs, finds them again, and ends those that their process did not survive."""

    def __init__(
        self, assistant: Assistant, approvals: Approvals, planner: Planner | None, threads: Threads, log: RunLog
    ) -> None:
        self._assistant = assistant
        self._approvals = approvals
        self._planner = planner
        self._threads = threads
        self._log = log
        self._admissions: WeakValueDictionary[tuple[str, str], asyncio.Lock] = WeakValueDictionary()
        self.live = LiveRuns(log)

    async def close(self) -> None:
        """End what is running, because the process ends."""
        await self.live.stop_all()
        if self._planner is not None:
            await self._planner.aclose()

    async def begin(self, user: str, wanted: RunRequest, invocation_id: str) -> AsyncIterator[bytes]:
        """Start the run and read it. The same `runId` again reads the run that it began.

        Raises:
            BadRequest: for what cannot be answered. Nothing was begun.
            ThreadBusy: while somebody reads another run of the thread.
            StateStoreError: the thread's record cannot be reached.
        """
        # One at a time, so that of two equal requests the second finds the run of the first.
        lock = self._admissions.setdefault((user, wanted.thread_id), asyncio.Lock())
        async with lock:
            return await self._admit(user, wanted, invocation_id)

    async def _admit(self, user: str, wanted: RunRequest, invocation_id: str) -> AsyncIterator[bytes]:
        if live := self.live.get(user, wanted.run_id):
            return live.read()
        await self.live.free(user, wanted.thread_id)
        # At once: each is a turn of a thread, which takes long while the event loop is busy.
        (same, unended), thread = await asyncio.gather(
            self._log.look(user, wanted.run_id, wanted.thread_id), self._threads.get(user, wanted.thread_id)
        )
        if same is not None and (known := await self.read(user, wanted.run_id, 0)):
            return known
        if unended:
            await self._end_interrupted(user, wanted.thread_id)
            thread = await self._threads.get(user, wanted.thread_id)
        messages, answers = list(wanted.messages), list(wanted.answers)
        questions = [Question(**one) for one in thread.pending]
        if wanted.is_text or not messages:
            messages = thread.messages + messages
        if wanted.is_text:
            # Who sends plain text sees no question's form: saying something else leaves it undecided.
            answers = [Answer(one.interrupt_id, "cancelled") for one in questions]
        self._approvals.check(questions, answers, thread.answered)
        conversation_of(messages, decided=[_decided(question, {}) for question in questions])
        thread.messages = messages
        run = LiveRun(
            self._log,
            user,
            wanted.thread_id,
            wanted.run_id,
            invocation_id=invocation_id,
            given=json.dumps(asdict(thread), ensure_ascii=False),
        )
        work = _Work(
            assistant=self._assistant,
            approvals=self._approvals,
            planner=self._planner,
            threads=self._threads,
            thread=thread,
            wanted=wanted,
            questions=questions,
            answers=answers,
            emitter=RunEmitter(
                wanted.thread_id, wanted.run_id, earlier_calls=[question.call_id for question in questions]
            ),
        )
        run.publish(work.emitter.start())  # before the task has its turn, which is late beside many runs
        self.live.start(run, work.drive, work.settle)
        return run.read()

    async def read(self, user: str, run_or_invocation_id: str, after: int) -> AsyncIterator[bytes] | None:
        """The events of the user's run from the one after number `after` on, or None: the user has no such run."""
        if run := self.live.get(user, run_or_invocation_id):
            return run.read(after)
        logged = await self._log.find(user, run_or_invocation_id)
        if logged is None:
            return None
        if not logged.ended:
            await self._end_interrupted(user, logged.thread_id)
        return replay(await self._log.events(logged), after)

    async def thread(self, user: str, thread_id: str) -> tuple[Thread, str | None]:
        """The thread as its last run left it, and its run in progress. While one is, the thread is as the run found it,
        with what the user said."""
        await self._end_interrupted(user, thread_id)
        if live := self.live.of_thread(user, thread_id):
            return Thread(**json.loads(live.given)), live.run_id
        return await self._threads.get(user, thread_id), None

    async def threads(self, user: str) -> list[Thread]:
        await self._end_interrupted(user)
        return await self._threads.list(user)

    async def _end_interrupted(self, user: str, thread_id: str = "") -> None:
        """End the runs, of one thread or of all, that died with their process: each keeps what it had said."""
        for logged in await self._log.unended(user, thread_id):
            if self.live.get(user, logged.run_id):
                continue
            now = await self._log.find(user, logged.run_id)
            if now is None or now.ended:  # It ended after it was found.
                continue
            events = await self._log.events(logged)
            thread = Thread(**json.loads(logged.given))
            thread.messages += messages_of(events)
            kept = await self._threads.get(user, logged.thread_id)
            if kept.updated <= thread.updated:  # no other run of the thread has ended since it began
                await self._threads.put(user, thread)
            error = RunEmitter(logged.thread_id, logged.run_id).fail(*_INTERRUPTED)
            last = split(error)[-1:] if events else split(error)  # with RUN_STARTED where there is none
            await self._log.append([Part(logged, len(events) + 1, last, ended=True)])


@dataclass(slots=True)
class _Work:
    """What one run does, and what it leaves."""

    assistant: Assistant
    approvals: Approvals
    planner: Planner | None
    threads: Threads
    thread: Thread
    wanted: RunRequest
    questions: list[Question]
    """What the thread waited for when the run began."""
    answers: list[Answer]
    emitter: RunEmitter

    async def drive(self, run: LiveRun) -> bytes:
        """Do the run's work, show what happens, and return the terminal event. Whatever happens, there is one: a stream
        that just stops looks like success."""
        emitter = self.emitter
        try:
            async with aclosing(self._progress(run.user)) as happening:
                async for happened in happening:
                    self._note(happened)
                    if isinstance(happened, Interrupted):
                        return emitter.interrupt(happened)
                    frames = emitter.progress(happened)
                    if emitter.ended:
                        return frames
                    if frames:
                        run.publish(frames)
            return emitter.fail("internal_error", "The run ended without a result.")
        except asyncio.CancelledError:
            return emitter.cancelled() if run.is_stopped else emitter.fail(*_INTERRUPTED)
        except (ModelError, AssistantError, ToolError) as error:
            logger.warning("run failed: %s", error.code, extra={"error.type": error.code})
            return emitter.fail(error.code, error.message)
        except StateStoreError:
            logger.exception("run failed")
            return emitter.fail(*_UNAVAILABLE)
        except Exception:
            logger.exception("run failed")
            return emitter.fail("internal_error", "Something went wrong in the agent. Try again.")

    async def settle(self, run: LiveRun, events: list[bytes]) -> None:
        """Keep what the run leaves in its thread."""
        self.thread.messages = [*self.thread.messages, *messages_of(events)]
        try:
            await self.threads.put(run.user, self.thread)
        except StateStoreError:
            logger.exception("a thread's record is not what its run left")

    async def _progress(self, user: str) -> AsyncGenerator[Progress, None]:
        decided: list[Decided] = []
        answers = {answer.interrupt_id: answer for answer in self.answers}
        asked_again: list[Question] = []
        for question in self.questions:
            answer = answers.get(question.interrupt_id) or Answer(question.interrupt_id, "cancelled")
            if question.tool == HAND_OVER:
                async with aclosing(self._planned(user, question, answer)) as plan:
                    async for news in plan:
                        if isinstance(news, PlanChanged):
                            for happened in as_progress(self.thread.state or {}, question.interrupt_id, news):
                                yield happened
                        elif isinstance(news, Question):
                            asked_again.append(news)
                        else:
                            decided.append(_decided(question, news.output))
            else:
                decided.append(_decided(question, await self.approvals.carry_out(user, question, answer)))
            self._settled(question)
            if decided and decided[-1].call_id == question.call_id:
                yield ToolResult(question.call_id, decided[-1].output)
        if asked_again:
            yield Interrupted(tuple(asked_again))
            return
        conversation = conversation_of(self.thread.messages, self.wanted.context, decided)
        run = self.assistant.run(
            conversation,
            page_tools=self.wanted.page_tools,
            approvals=self.approvals,
            planner=self.planner,
            user=user,
            state=self.thread.state,
        )
        async with aclosing(run) as happening:  # type: ignore[type-var]
            async for happened in happening:
                yield happened

    async def _planned(
        self, user: str, question: Question, answer: Answer
    ) -> AsyncGenerator[PlanChanged | Question | PlanEnded, None]:
        """Bring the planner the answer that holds, and follow what it does."""
        first = await self.approvals.first_answer(user, answer)
        if first.status == "cancelled":
            yield PlanEnded(ToolError("approval_cancelled", _LEFT).as_output())
            return
        if self.planner is None:
            raise ToolError("planner_unavailable", "This agent has no planner any more: PLANNER_ENDPOINT is not set.")
        decision = read_decision(first.payload, "resume")
        approved, reason = decision.approved, decision.reason
        if approved and not approves(answer):
            # The approval may never have been brought, because its run died. The planner knows, and acts on what it
            # was told first.
            approved, reason = False, _WITHDRAWN
        try:
            async with aclosing(self.planner.go_on(user, question, approved=approved, reason=reason)) as happening:
                async for happened in happening:
                    yield happened
        except asyncio.CancelledError:
            self._settled(question)  # The plan was cancelled with the run.
            raise

    def _settled(self, question: Question) -> None:
        """The question waits no more."""
        self.thread.pending = [one for one in self.thread.pending if one["interrupt_id"] != question.interrupt_id]
        if question.interrupt_id not in self.thread.answered:
            self.thread.answered = [*self.thread.answered, question.interrupt_id][-_MOST_ANSWERED:]

    def _note(self, happened: Progress) -> None:
        if isinstance(happened, StateChanged):
            self.thread.state = happened.state
        if isinstance(happened, Interrupted):
            self.thread.pending = [asdict(question) for question in happened.questions]


def _decided(question: Question, output: dict[str, Any]) -> Decided:
    arguments = {} if question.tool == HAND_OVER else question.arguments
    return Decided(question.call_id, question.tool, arguments, json.dumps(output, ensure_ascii=False))
