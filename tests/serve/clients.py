"""What people's programs do, by the official clients. Usage: clients.py ADDRESS"""
import json
import sys

import anthropic
import openai

address = sys.argv[1]
words = '<tool_call>{"name": "add", "arguments": {"a": 1}}</tool_call>\n' * 6
schema = {"type": "object", "properties": {"a": {"type": "integer"}}}
greedy = {"temperature": 0}

one = openai.OpenAI(base_url=address + "v1", api_key="none")
two = anthropic.Anthropic(base_url=address.rstrip("/"), api_key="none")


def chat(content, **more):
    messages = [{"role": "user", "content": content}]
    return one.chat.completions.create(model="tiny", messages=messages, temperature=0, **more)


assert [m.id for m in one.models.list()] == ["tiny-q8_0.gguf"]
text = one.completions.create(model="tiny", prompt="The cache holds", max_tokens=12, temperature=0)
assert text.choices[0].text.startswith(" the current state"), text

whole = chat("The cache holds", max_tokens=12).choices[0].message.content
pieces = [c for c in chat("The cache holds", max_tokens=12, stream=True,
                          stream_options={"include_usage": True})]
assert whole == "".join(c.choices[0].delta.content or "" for c in pieces if c.choices), pieces
assert pieces[-1].usage.completion_tokens == 12

tools = [{"type": "function", "function": {"name": "add", "parameters": schema}}]
answer = chat(words, tools=tools, max_tokens=60, parallel_tool_calls=False).choices[0]
assert answer.finish_reason == "tool_calls", answer
assert answer.message.tool_calls[0].function.arguments == '{"a": 1}', answer

message = two.messages.create(model="tiny", max_tokens=12, extra_body=greedy,
                              messages=[{"role": "user", "content": "The cache holds"}])
assert message.content[0].text == whole, message
with two.messages.stream(model="tiny", max_tokens=60, extra_body=greedy,
                         tools=[{"name": "add", "input_schema": schema}],
                         messages=[{"role": "user", "content": words}]) as stream:
    used = stream.get_final_message()
assert used.content[0].type == "tool_use" and used.content[0].input == {"a": 1}, used
count = two.messages.count_tokens(model="tiny", messages=[{"role": "user", "content": "hi"}])
assert count.input_tokens > 0

flat = [{"type": "function", "name": "add", "parameters": schema, "strict": False}]
with one.responses.stream(model="tiny", input=words, tools=flat, max_output_tokens=60,
                          temperature=0, parallel_tool_calls=False) as stream:
    for _ in stream:
        pass
    called = stream.get_final_response()
assert called.output[0].arguments == '{"a": 1}', called

strict = dict(schema, required=["a"], additionalProperties=False)
forced = chat("The cache holds", max_tokens=60, parallel_tool_calls=False, tool_choice="required",
              tools=[{"type": "function", "function": {"name": "add", "strict": True,
                                                       "parameters": strict}}])
arguments = json.loads(forced.choices[0].message.tool_calls[0].function.arguments)
assert list(arguments) == ["a"] and isinstance(arguments["a"], int), forced
message = two.messages.create(model="tiny", max_tokens=60, extra_body=greedy,
                              tools=[{"name": "add", "input_schema": strict}],
                              tool_choice={"type": "tool", "name": "add"},
                              messages=[{"role": "user", "content": "The cache holds"}])
assert message.content[0].type == "tool_use" and message.content[0].name == "add", message

for call, kind in (
        (lambda: chat("a", n=2), openai.BadRequestError),
        (lambda: one.models.retrieve("../etc"), openai.APIStatusError),
        (lambda: two.messages.create(model="tiny", max_tokens=5, messages=[]),
         anthropic.BadRequestError)):
    try:
        call()
    except kind:
        continue
    raise SystemExit("no %s was raised" % kind.__name__)
