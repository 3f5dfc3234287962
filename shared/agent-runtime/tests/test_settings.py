import pytest
from agent_runtime.settings import AgentSettings, SettingsError, load_settings


def test_without_any_variable_the_agent_runs_offline_under_its_local_name() -> None:
    settings = load_settings(AgentSettings)
    assert (settings.provider, settings.model, settings.name, settings.port) == (
        "offline",
        "offline-extractive",
        "agent",
        8088,
    )
    assert not settings.hosted


def test_a_foundry_project_with_a_deployment_selects_foundry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FOUNDRY_PROJECT_ENDPOINT", "https://x.services.ai.azure.com/api/projects/p/")
    monkeypatch.setenv("AZURE_AI_MODEL_DEPLOYMENT_NAME", "gpt")
    settings = load_settings(AgentSettings)
    assert (settings.provider, settings.model) == ("foundry", "gpt")
    assert settings.foundry_project_endpoint == "https://x.services.ai.azure.com/api/projects/p"


def test_a_base_url_selects_the_compatible_server_and_wants_a_model_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:11434/v1")
    with pytest.raises(SettingsError, match="MODEL_NAME must be set"):
        load_settings(AgentSettings)
    monkeypatch.setenv("MODEL_NAME", "llama")
    assert load_settings(AgentSettings).provider == "openai"


def test_inside_foundry_a_missing_deployment_is_an_error_and_not_offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FOUNDRY_HOSTING_ENVIRONMENT", "sandbox")
    monkeypatch.setenv("FOUNDRY_PROJECT_ENDPOINT", "https://x.example/api/projects/p")
    with pytest.raises(SettingsError, match="AZURE_AI_MODEL_DEPLOYMENT_NAME must be set"):
        load_settings(AgentSettings)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PORT", "eighty"),
        ("PORT", "0"),
        ("LOG_LEVEL", "loud"),
        ("MODEL_PROVIDER", "oracle"),
        ("OPENAI_BASE_URL", "localhost:11434"),
        ("OPENAI_BASE_URL", "http://"),
        ("OPENAI_BASE_URL", "https://model.test/v1?api-version=1"),
        ("OPENAI_API_KEY", "sk-\u2026"),
        ("OPENAI_API_KEY", "sk-1\nsk-2"),
        ("OPENAI_BASE_URL", "http://[model]/v1"),
        ("OPENAI_BASE_URL", "http://model:99999/v1"),
        ("FOUNDRY_PROJECT_ENDPOINT", "https:///api/projects/demo"),
        ("FOUNDRY_PROJECT_ENDPOINT", "http://project.test/api/projects/demo"),
        ("MAX_REQUEST_BYTES", "12"),
        ("SSE_KEEPALIVE_INTERVAL", "0.5"),
        ("AGENTSERVER_GRACEFUL_SHUTDOWN_TIMEOUT_SECONDS", "soon"),
        ("RESPONSES_KEPT_DAYS", "0"),
    ],
)
def test_a_bad_variable_gets_one_line_that_names_it(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError) as caught:
        load_settings(AgentSettings)
    lines = [line for line in str(caught.value).splitlines() if line.startswith(name)]
    assert len(lines) == 1
    assert lines[0].endswith("Correct it or unset it.")


def test_several_bad_variables_get_a_line_each_and_no_value_is_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PORT", "my-secret-1")
    monkeypatch.setenv("LOG_LEVEL", "my-secret-2")
    with pytest.raises(SettingsError) as caught:
        load_settings(AgentSettings)
    assert {line.split(":")[0] for line in str(caught.value).splitlines()} == {"PORT", "LOG_LEVEL"}
    assert "my-secret" not in str(caught.value)


def test_an_empty_variable_counts_as_unset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", "")
    monkeypatch.setenv("PORT", "")
    assert load_settings(AgentSettings).provider == "offline"


def test_the_line_break_at_the_end_of_a_key_from_a_file_is_not_part_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-1\n")
    key = load_settings(AgentSettings).openai_api_key
    assert key is not None
    assert key.get_secret_value() == "sk-1"


def test_the_api_key_does_not_show_when_settings_are_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-very-secret")
    assert "sk-very-secret" not in repr(load_settings(AgentSettings))
