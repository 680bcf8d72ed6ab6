"""The chat-completion back end of caan.descriptions, against a local HTTP server.

Run: python -m pytest tests/descriptions/test_describe_chat.py
"""

import logging

import pytest
from chat_server import GOOD, completion, running_server  # noqa: F401 (the fixture `server`)

from caan.descriptions import Answer, BackendError, DescriptionFile, Generation, Request, describe, load_prompt_set
from caan.descriptions.chat import ChatBackend


def answers_of(backend, requests, generation=None):
    answers = dict(backend.ask(requests, generation or Generation()))
    return [answers[position] for position in range(len(requests))]


def chat(server, **options):
    return ChatBackend("tiny-chat", base_url=server.url, **{"backoff": 0.0, "retries": 3, **options})


def test_what_is_sent(server):
    request = Request("Be brief.", "What does an owl look like?", seed=7)
    assert answers_of(chat(server), [request], Generation(0.5, 0.8, 33)) == [Answer(GOOD)]
    assert server.seen == [
        (
            "/v1/chat/completions",
            "Bearer no-key",
            {
                "model": "tiny-chat",
                "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": request.question}],
                "max_tokens": 33,
                "temperature": 0.5,
                "top_p": 0.8,
                "seed": 7,
                "stream": False,
            },
        )
    ]


@pytest.mark.parametrize(
    "trouble",
    [
        (429, {"Retry-After": "0"}, b"{}"),
        (503, {}, b"overloaded"),
        (200, {}, b"not json"),
        (200, {}, b'{"error": "no choices"}'),
        (200, {}, b'{"choices": []}'),
        (200, {}, b'{"choices": [{"message": {"content": [1]}, "finish_reason": "stop"}]}'),
        (200, {"Content-Length": "500"}, b'{"choices": ['),
        "hang up",
    ],
    ids=["429", "503", "no JSON", "no choices", "empty choices", "content no text", "cut in the middle", "connection lost"],
)
def test_a_troubled_answer_is_asked_for_again(server, trouble):
    server.replies["Owl?"] = [trouble, trouble]
    assert answers_of(chat(server), [Request("", "Owl?", 0), Request("", "Swan?", 0)]) == [Answer(GOOD), Answer(GOOD)]
    assert sorted(body["messages"][0]["content"] for _, _, body in server.seen) == ["Owl?", "Owl?", "Owl?", "Swan?"]


def test_a_server_that_hangs_is_asked_again_after_the_time_out(server):
    server.replies["Owl?"] = ["hang"]
    assert answers_of(chat(server, timeout=1.0), [Request("", "Owl?", 0)]) == [Answer(GOOD)]
    assert len(server.seen) >= 2


def test_an_answer_at_the_token_limit_is_told(server):
    server.replies["Owl?"] = [completion("An owl has", "length")]
    assert answers_of(chat(server), [Request("", "Owl?", 0)]) == [Answer("An owl has", complete=False)]


def test_back_off_doubles_and_heeds_retry_after(server, monkeypatch):
    monkeypatch.setattr("random.uniform", lambda low, high: 1.0)
    busy, patient = (500, {}, b""), (429, {"Retry-After": "7"}, b"")
    server.replies["Owl?"] = [
        busy,
        busy,
        busy,
        patient,
        (429, {"Retry-After": "9999"}, b""),
        (429, {"Retry-After": "Fri"}, b""),
    ]
    backend = chat(server, retries=6, backoff=1.0, max_delay=30.0)
    waits = []
    monkeypatch.setattr(backend._stop, "wait", lambda seconds: waits.append(seconds))
    assert answers_of(backend, [Request("", "Owl?", 0)]) == [Answer(GOOD)]
    assert waits == [1.0, 2.0, 4.0, 7.0, 30.0, 30.0]


def test_a_question_without_an_answer_is_reported_and_the_rest_kept(server, tmp_path):
    prompts = load_prompt_set("interrogative")
    parts, outline = prompts.question("parts", "owl"), prompts.question("outline", "owl")
    server.replies[parts] = [(500, {}, b"")] * 99
    server.replies[outline] = [(400, {}, b'{"error": "content filter"}')] * 99
    report = describe(["owl"], prompts, chat(server, retries=1), tmp_path / "out.jsonl", tries=2)
    failures = {failure.prompt: failure.reason for failure in report.failures}
    assert report.written == 3
    assert failures == {"parts": "no answer after 2 requests: HTTP 500", "outline": "no answer: HTTP 400 content filter"}
    asked = [body["messages"][-1]["content"] for _, _, body in server.seen]
    assert (asked.count(parts), asked.count(outline)) == (4, 2)  # 2 tries with one retry each; a 400 is not sent again


def test_questions_that_the_service_cannot_answer_are_not_taken_for_its_end(server, tmp_path):
    """Two questions and three tries are six answers missing in a row, but of two questions alone."""
    prompts = load_prompt_set("interrogative")
    stuck = [prompts.question(prompt, "owl") for prompt in ("parts", "outline")]
    server.replies |= {question: [(500, {}, b"")] * 99 for question in stuck}
    report = describe(["owl"], prompts, chat(server, retries=0), tmp_path / "out.jsonl", tries=3)
    assert (report.written, sorted(failure.prompt for failure in report.failures)) == (3, ["outline", "parts"])


def test_a_service_that_is_down_stops_the_run_and_keeps_the_lines(server, tmp_path):
    prompts, path = load_prompt_set("interrogative"), tmp_path / "out.jsonl"
    for name in ("swan", "duck"):
        for prompt in prompts.prompts:
            server.replies[prompts.question(prompt, name)] = [(503, {}, b"")] * 99
    with pytest.raises(BackendError, match="4 questions in a row had no answer after 1 requests: HTTP 503"):
        describe(["owl", "swan", "duck"], prompts, chat(server, retries=0), path, batch_size=5)
    assert len(path.read_text().splitlines()) == 5
    server.replies.clear()
    assert describe(["owl", "swan", "duck"], prompts, chat(server), path, batch_size=5).found == 5
    asked = [body["messages"][-1]["content"] for _, _, body in server.seen]
    assert asked.count(prompts.question("parts", "owl")) == 1  # never asked twice
    with DescriptionFile(path) as file:
        assert len(file.lines) == 15


@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_refused_key_or_model_stops_at_once_and_shows_no_key(server, status, caplog):
    server.replies["Owl?"] = [(status, {}, b'{"error": "Incorrect API key provided: sk-secret-123"}')]
    with (
        caplog.at_level(logging.DEBUG),
        pytest.raises(BackendError, match=f"the service refused: HTTP {status} Incorrect API key provided: <key>") as error,
    ):
        answers_of(chat(server, api_key="sk-secret-123"), [Request("", "Owl?", 0)])
    assert server.seen[0][1] == "Bearer sk-secret-123"
    assert len(server.seen) == 1
    assert "sk-secret-123" not in str(error.value) + caplog.text + repr(error.value.__cause__)


def test_the_hub_token_is_not_sent_to_another_server(server, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    answers_of(chat(server), [Request("", "Owl?", 0)])
    assert server.seen[0][1] == "Bearer no-key"


@pytest.mark.parametrize(
    "url, said",
    [
        ("http://user:pa55@localhost/v1", "holds a user, password or query"),
        ("https://host/v1?api_key=pa55", "holds a user, password or query"),
        ("localhost:8000", "must be like http"),
    ],
)
def test_a_base_url_with_a_secret_in_it_is_refused_unquoted(url, said):
    with pytest.raises(BackendError, match=said) as error:
        ChatBackend("m", base_url=url)
    assert "pa55" not in str(error.value)


def test_offline_mode_is_told_at_once(server, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(BackendError, match="HF_HUB_OFFLINE is set"):
        answers_of(chat(server), [Request("", "Owl?", 0)])
    assert server.seen == []


def test_a_provider_without_a_login_is_told_at_once(monkeypatch):
    monkeypatch.setattr("huggingface_hub.inference._providers._common.get_token", lambda: None)
    with pytest.raises(BackendError, match="You must provide an api_key"):
        answers_of(ChatBackend("org/model", provider="auto"), [Request("", "Owl?", 0)])
