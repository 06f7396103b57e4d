"""An agent of the Agent Client Protocol for the tests, by hand: each prompt says what it is to do, good or bad.

With the argument `mute` it answers nothing, not even the first thing it is asked. With `load` it takes up sessions again, and
tells then what was said before; with `load-fails` it offers to and cannot; with `load-hangs` it never answers that."""
import json
import os
import sys

write = sys.stdout.buffer.write


# How it takes up sessions, and the one it is in.
loads = next((argument for argument in sys.argv[1:] if argument.startswith("load")), None)
session = {"id": "s-1"}


def send(message):
    write(json.dumps({"jsonrpc": "2.0", **message}).encode() + b"\n")
    sys.stdout.buffer.flush()


def read():
    """The next message; the agent ends where there is none."""
    line = sys.stdin.buffer.readline()
    if not line or sys.argv[1:] == ["mute"]:
        sys.stdin.buffer.read()
        sys.exit(0)
    return json.loads(line)


def update(kind, **fields):
    send({"method": "session/update", "params": {"sessionId": session["id"], "update": {"sessionUpdate": kind, **fields}}})


def say(text, kind="agent_message_chunk"):
    update(kind, content={"type": "text", "text": text})


def until_cancelled():
    while read().get("method") != "session/cancel":
        pass
    return "cancelled"


def wait():
    say("waiting")
    return until_cancelled()


def late():
    """Goes on for a while once it is cancelled, also behind its answer."""
    reason = wait()
    say(", and late")
    return reason


def ignore():
    say("waiting")
    hang()


def hang():
    while True:
        read()


def ask(count=1):
    """Asks for leave, so often at once, and says what it was answered, in that order."""
    options = [{"optionId": kind, "name": kind, "kind": kind} for kind in ("allow_once", "reject_once")]
    for n in range(count):
        call = {"toolCallId": "call-1", "title": f"Write file {n + 1}"}
        params = {"sessionId": session["id"], "toolCall": call, "options": options}
        send({"id": 77 + n, "method": "session/request_permission", "params": params})
    reason, told = "end_turn", []
    while len(told) < count:
        message = read()
        if message.get("method") == "session/cancel":
            reason = "cancelled"
        else:
            assert 77 <= message["id"] < 77 + count, message
            outcome = message["result"]["outcome"]
            told.append(outcome.get("optionId", outcome["outcome"]))
    say(", ".join(told))
    return reason


def ask_and_go():
    """Asks for leave, and does not wait for the answer."""
    params = {"sessionId": session["id"], "toolCall": {"toolCallId": "call-1"}, "options": [
        {"optionId": "yes", "name": "Yes", "kind": "allow_always"}]}
    send({"id": 76, "method": "session/request_permission", "params": params})
    return "end_turn"


def tool():
    say("before")
    update("tool_call", toolCallId="call-1", title="Read\x1b[2J it", status="pending", rawInput={"path": "/x"})
    update("tool_call_update", toolCallId="call-1", status="in_progress")
    update("tool_call_update", toolCallId="call-1", status="in_progress")
    update("tool_call_update", toolCallId="call-1", status="completed")
    update("a_kind_of_tomorrow", what="ever")
    say("after")
    return "end_turn"


def tool_and_wait():
    update("tool_call", toolCallId="call-1", title="Build it", status="in_progress")
    return until_cancelled()


def think():
    say("hm", "agent_thought_chunk")
    for word in ("one ", "two ", "three"):
        say(word)
    return "end_turn"


def hold(path):
    """Says half an answer, and the other half once somebody has written to a pipe."""
    say("first half, ")
    with open(path) as pipe:
        pipe.read()
    say("second half")
    return "end_turn"


def large():
    for _ in range(5):
        say("é" * 32 * 1024)
    return "max_tokens"


def flood():
    for _ in range(8192):
        say("x" * 16 * 1024)
    return "end_turn"


def exit_with(code):
    say("the beginning of an answer")
    sys.stderr.write("it went wrong\x1b[31m\n")
    sys.stderr.flush()
    os._exit(code)


def raw(line):
    write(line + b"\n")
    sys.stdout.buffer.flush()
    sys.stdin.buffer.read()


def long():
    for _ in range(100):
        write(b"x" * 1024 * 1024)
    raw(b"")


def close():
    sys.stdout.buffer.flush()
    os.close(1)
    sys.stdin.buffer.read()
    while True:
        os.read(os.pipe()[0], 1)


PROMPTS = {
    "think": think,
    "tool": tool,
    "tool and wait": tool_and_wait,
    "ask": ask,
    "ask twice": lambda: ask(2),
    "ask and go": ask_and_go,
    "pid": lambda: say(str(os.getpid())) or "end_turn",
    "large": large,
    "flood": flood,
    "wait": wait,
    "late": late,
    "ignore": ignore,
    "recall": lambda: say(session["id"]) or "end_turn",
    "hang": hang,
    "refuse": lambda: "refusal",
    "exit": lambda: exit_with(3),
    "garbage": lambda: raw(b"npm WARN something"),
    "long": long,
    "unknown": lambda: send({"id": "nobody", "result": {}}) or sys.stdin.buffer.read() or sys.exit(0),
    "close": close,
}


def load(id, params):
    """Takes up a session again, telling what was said in it."""
    assert os.path.isabs(params["cwd"]) and params["mcpServers"] == [], params
    if loads == "load-fails":
        send({"id": id, "error": {"code": -32002, "message": "no such session"}})
    elif loads == "load":
        session["id"] = params["sessionId"]
        for kind in ("user_message_chunk", "agent_message_chunk", "agent_thought_chunk"):
            say("said before", kind)
        update("tool_call", toolCallId="call-1", title="Done before", status="completed")
        send({"id": id, "result": {}})


def main():
    while True:
        asked = read()
        method, id = asked.get("method"), asked.get("id")
        if method == "initialize":
            send({"id": id, "result": {"protocolVersion": 1, "agentCapabilities": {"loadSession": bool(loads)}}})
        elif method == "session/new":
            assert os.path.isabs(asked["params"]["cwd"]), asked
            session["id"] = f"s-{os.getpid()}" if loads else "s-1"
            send({"id": id, "result": {"sessionId": session["id"]}})
        elif method == "session/load":
            load(id, asked["params"])
        elif method == "session/prompt":
            words = asked["params"]["prompt"][0]["text"]
            if words == "fail":
                send({"id": id, "error": {"code": -32000, "message": "out of\nluck"}})
                continue
            if words == "twice":
                for _ in range(2):
                    send({"id": id, "result": {"stopReason": "end_turn"}})
                continue
            if words.startswith("hold "):
                send({"id": id, "result": {"stopReason": hold(words[5:])}})
                continue
            act = PROMPTS.get(words, lambda: say("heard: " + words) or "end_turn")
            send({"id": id, "result": {"stopReason": act()}})


main()
