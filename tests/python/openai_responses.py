"""OpenAI's own client for Python, of an answer in the background: what it has lost of it, it retrieves.

Argument: the URL of the API. Prints {"text": ...} each time that the text has grown, {"failed": ...} when the connection breaks, after
which it retrieves the rest and goes on, and {"end": type, "at": number} with the last event's type and number.
"""

import json
import sys

import openai


def say(**what: object) -> None:
    print(json.dumps(what), flush=True)


client = openai.OpenAI(base_url=sys.argv[1], api_key="sk-of-the-tests", max_retries=5)
stream = client.responses.create(model="m", input="go", stream=True, background=True)
answer, at, text, end = "", -1, "", ""
while end != "response.completed":
    try:
        for event in stream:
            at, end = event.sequence_number, event.type
            if event.type == "response.created":
                answer = event.response.id
            if event.type == "response.output_text.delta":
                text += event.delta
                say(text=text)
    except Exception as error:
        say(failed=type(error).__name__)
    if end != "response.completed":
        stream = client.responses.retrieve(answer, stream=True, starting_after=at)
say(end=end, at=at)
