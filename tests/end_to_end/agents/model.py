"""A model for agents that want one: what answers `chat/completions` of OpenAI's form, streamed, on a port of this machine,
which it says on its first line. The last thing that a user said decides the answer:

- `use a tool`: the use of the agent's tool `bash`, and once that is over, what came of it
- `wait`: the beginning of an answer, and nothing more
- anything else: how often users have spoken, so that one who remembers can be told from one who does not
"""
import http.server
import json
import sys
import threading


def text_of(message):
    content = message.get("content") or ""
    return content if isinstance(content, str) else "".join(part.get("text", "") for part in content)


class Model(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("connection", "close")
        self.end_headers()
        try:
            self.answer(asked)
        except (BrokenPipeError, ConnectionResetError):
            pass
        self.close_connection = True

    def answer(self, asked):
        messages = asked["messages"]
        said = [text_of(message) for message in messages if message["role"] == "user"]
        has_tools = any(tool["function"]["name"] == "bash" for tool in asked.get("tools", []))
        if not has_tools:
            # It is asked for a title, or the like.
            self.say("a title")
        elif messages[-1]["role"] == "tool":
            self.say("the tool said: " + text_of(messages[-1]))
        elif "use a tool" in said[-1]:
            arguments = json.dumps({"command": "echo from the tool", "description": "Says where it is from"})
            call = {"index": 0, "id": "call-1", "type": "function", "function": {"name": "bash", "arguments": arguments}}
            self.chunk({"role": "assistant", "tool_calls": [call]})
            self.chunk({}, "tool_calls")
        elif "wait" in said[-1]:
            self.chunk({"role": "assistant", "content": "waiting"})
            threading.Event().wait()
        else:
            self.say(f"you have spoken ", f"{len(said)} times")
        self.wfile.write(b"data: [DONE]\n\n")

    def say(self, *pieces):
        for piece in pieces:
            self.chunk({"role": "assistant", "content": piece})
        self.chunk({}, "stop")

    def chunk(self, delta, reason=None):
        choice = {"index": 0, "delta": delta, "finish_reason": reason}
        chunk = {"id": "c-1", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]}
        self.wfile.write(b"data: " + json.dumps(chunk).encode() + b"\n\n")
        self.wfile.flush()


def main():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Model)
    server.daemon_threads = True
    print(server.server_address[1], flush=True)
    # It ends with who started it.
    threading.Thread(target=lambda: (sys.stdin.read(), server.shutdown()), daemon=True).start()
    server.serve_forever()


main()
