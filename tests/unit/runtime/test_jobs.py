"""A job outlives its request, tells how far it is, and never stays "running" for ever."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from pathlib import Path

import pytest

from runtime.errors import NotFound
from runtime.host import Host
from runtime.jobs import Job
from runtime.limits import Limits
from runtime.namespace import Stub
from runtime.testing import harness, settle, until
from tests.scratch import Probe, gate


async def ended(host: Host, probe: Stub, job: Job) -> Job:
    """Return the record of a job that ended."""
    await until(lambda: not any(i.busy for i in host.live()))
    found: Job = await probe.get_job(job.id)
    return found


async def test_a_job_reports_its_progress_as_events_and_keeps_its_result(host: Host, probe: Stub) -> None:
    async with aclosing(host.events.listen(probe.id)) as events:
        first = asyncio.ensure_future(anext(events))
        await settle()
        job = await probe.start_job("count", {"to": 3})
        heard = [await first]
        while heard[-1].data["state"] == "running":
            heard.append(await anext(events))
    assert [e.data["phase"] for e in heard] == [None, "step 0", "step 1", "step 2", "step 2"]
    record = await ended(host, probe, job)
    assert (record.state, record.result, record.done, record.total) == ("done", 3, 2, 3)
    assert record.ended is not None


async def test_other_calls_get_in_while_a_job_runs(host: Host, probe: Stub) -> None:
    job = await probe.start_job("wait")
    assert await probe.turn("meanwhile") == "meanwhile"
    assert (await probe.get_job(job.id)).state == "running"
    gate(host, "job").set()
    assert (await ended(host, probe, job)).state == "done"


@pytest.mark.parametrize(("kind", "code"), [("broken", "internal_error"), ("strange", "internal_error")])
async def test_a_job_that_fails_says_why(host: Host, probe: Stub, kind: str, code: str) -> None:
    record = await ended(host, probe, await probe.start_job(kind))
    assert record.state == "failed"
    assert record.error["code"] == code


async def test_a_job_can_be_cancelled_at_any_moment(host: Host, probe: Stub) -> None:
    await probe.notes()
    running = await probe.start_job("wait")
    await settle()
    assert (await probe.cancel_job(running.id)).state == "cancelled"
    instance = host.live()[0]
    unborn = await instance.jobs.start("wait", {})  # its task has not made a step yet
    assert (await instance.jobs.cancel(unborn.id)).state == "cancelled"
    assert (await probe.cancel_job(unborn.id)).state == "cancelled"
    assert not instance.busy


async def test_cancelling_a_job_that_ended_changes_nothing(host: Host, probe: Stub) -> None:
    record = await ended(host, probe, await probe.start_job("count"))
    assert await probe.cancel_job(record.id) == record


async def test_an_unknown_job_is_not_found(probe: Stub) -> None:
    with pytest.raises(NotFound):
        await probe.get_job("nothing")
    with pytest.raises(NotFound):
        await probe.cancel_job("nothing")


async def test_the_history_of_jobs_is_bounded(tmp_path: Path) -> None:
    async with harness(tmp_path, Probe, limits=Limits(max_jobs_kept=5)) as host:
        probe = host.namespace("probe").get("one")
        for _ in range(9):
            await ended(host, probe, await probe.start_job("count", {"to": 1}))
        assert len(await probe.list_jobs()) <= 6


async def test_an_interrupted_job_is_continued_or_marked_failed_at_the_next_start(tmp_path: Path) -> None:
    async with harness(tmp_path, Probe, limits=Limits(drain_s=0)) as host:
        probe = host.namespace("probe").get("one")
        plain = await probe.start_job("wait")
        resumable = await probe.start_job("resume")
        await settle()
    async with harness(tmp_path, Probe) as host:
        probe = host.namespace("probe").get("one")
        record = await probe.get_job(plain.id)
        assert (record.state, record.error["code"]) == ("failed", "interrupted")
        assert (await probe.get_job(resumable.id)).state == "running"
        gate(host, "job").set()
        assert (await ended(host, probe, resumable)).result == "continued"


async def test_an_actor_with_a_running_job_is_not_evicted(tmp_path: Path) -> None:
    async with harness(tmp_path, Probe, limits=Limits(max_open=2)) as host:
        probe = host.namespace("probe").get("busy")
        await probe.start_job("wait")
        for number in range(5):
            await host.namespace("probe").get(str(number)).notes()
        assert "busy" in {i.address.name for i in host.live()}
        gate(host, "job").set()
