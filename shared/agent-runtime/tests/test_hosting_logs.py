import io
import logging
from collections.abc import Iterator

import pytest
from agent_runtime.hosting.logs import configure_logging


@pytest.fixture
def output() -> Iterator[io.StringIO]:
    """Where the configured root logger writes; the loggers of the test run are put back afterwards."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    levels = {
        name: logger.level for name, logger in root.manager.loggerDict.items() if isinstance(logger, logging.Logger)
    }
    stream = io.StringIO()
    yield stream
    logging.captureWarnings(False)
    root.handlers[:] = handlers
    root.setLevel(level)
    for name, logger in root.manager.loggerDict.items():
        if isinstance(logger, logging.Logger):
            logger.setLevel(levels.get(name, logging.NOTSET))
    logging.getLogger("hypercorn.error").filters.clear()


def test_a_record_is_one_line_of_time_level_agent_message(output: io.StringIO) -> None:
    configure_logging("rag-chat", stream=output)
    logging.getLogger("anything").info("found %d passages", 3)
    time, level, agent, message = output.getvalue().rstrip("\n").split(" ", 3)
    assert len(time) == len("2026-11-23T21:20:11Z")
    assert (level, agent, message) == ("info", "rag-chat", "found 3 passages")


def test_neither_a_message_nor_an_error_can_forge_a_second_record(output: io.StringIO) -> None:
    configure_logging("rag-chat", stream=output)
    try:
        raise RuntimeError("a bug\n2026-11-23T21:20:11Z info rag-chat all is well\r2026 again")
    except RuntimeError:
        logging.getLogger("x").exception("first\nsecond\rthird")
    first, *traceback = output.getvalue().splitlines()
    assert first.endswith(" error rag-chat first\\nsecond\\rthird")
    assert traceback[0] == "  Traceback (most recent call last):"
    assert all(line.startswith("  ") for line in traceback)


def test_libraries_speak_up_only_to_warn(output: io.StringIO) -> None:
    configure_logging("a", stream=output)
    for name in ("azure.ai.agentserver", "httpx2", "openai._base_client", "urllib3.connectionpool"):
        logging.getLogger(name).info("chatter")
        logging.getLogger(name).warning("trouble")
    assert output.getvalue().count("chatter") == 0
    assert output.getvalue().count("trouble") == 4


def test_the_sdks_request_lines_are_dropped_and_come_back_with_debug(output: io.StringIO) -> None:
    configure_logging("a", stream=output)
    sdk = logging.getLogger("azure.ai.agentserver")
    sdk.warning("Inbound %s %s completed with status %d in %.1fms%s", "GET", "/x", 404, 1.0, "")
    assert output.getvalue() == ""
    configure_logging("a", "debug", stream=output)
    sdk.warning("Inbound %s %s completed with status %d in %.1fms%s", "GET", "/x", 404, 1.0, "")
    assert "Inbound GET /x" in output.getvalue()


def test_hypercorns_own_handler_is_silent_and_its_warnings_come_once(
    output: io.StringIO, capsys: pytest.CaptureFixture[str]
) -> None:
    from hypercorn.config import Config

    configure_logging("a", stream=output)
    hypercorn = Config().log.error_logger  # this is where hypercorn adds its handler
    assert hypercorn is not None
    hypercorn.info("Running on http://0.0.0.0:8088 (CTRL + C to quit)")
    hypercorn.error("Error in ASGI Framework")
    captured = capsys.readouterr()
    assert captured.out + captured.err == ""
    assert "Running on" not in output.getvalue()
    assert output.getvalue().count("Error in ASGI Framework") == 1
    hypercorn.handlers.clear()


def test_configuring_twice_does_not_double_the_lines(output: io.StringIO) -> None:
    configure_logging("a", stream=output)
    configure_logging("a", stream=output)
    logging.getLogger("x").info("once")
    assert output.getvalue().count("once") == 1


@pytest.mark.parametrize("level", ["info", "debug"])
def test_what_a_model_s_answer_cost_is_for_exporters_and_for_whoever_debugs(output: io.StringIO, level: str) -> None:
    configure_logging("a", level, stream=output)
    logging.getLogger("agent_runtime.model_usage").info("answer of the model in 1 s")
    assert bool(output.getvalue()) == (level == "debug")
