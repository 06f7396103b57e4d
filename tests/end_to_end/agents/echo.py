"""An agent for the tests: reads one JSON object a line and says what it heard."""
import json
import sys

for line in sys.stdin.buffer:
    heard = json.loads(line)
    answer = {"content": f"{heard['kind']} {heard['sequence']}: {heard['content']}"}
    if heard["kind"] == "system":
        answer["role"] = "system"
    sys.stdout.buffer.write(json.dumps(answer, ensure_ascii=False).encode() + b"\n")
    sys.stdout.buffer.flush()
