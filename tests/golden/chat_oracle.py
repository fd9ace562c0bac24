"""Renders chat templates with jinja2 and writes what they say to chat_golden.h. Next: chat_golden_test.cc.

Run by `./dev oracle`. Qwen's template comes from its model file (the committed text is kept where the file is absent);
the others are the shapes that models of their kind carry.
"""

import itertools
import json
import os
import pathlib

import jinja2

HERE = pathlib.Path(__file__).parent

LLAMA2 = (
    "{% if messages[0]['role'] == 'system' %}{% set loop_messages = messages[1:] %}"
    "{% set system_message = messages[0]['content'] %}{% else %}{% set loop_messages = messages %}"
    "{% set system_message = false %}{% endif %}{% for message in loop_messages %}"
    "{% if loop.index0 == 0 and system_message != false %}"
    "{% set content = '<<SYS>>\\n' + system_message + '\\n<</SYS>>\\n\\n' + message['content'] %}"
    "{% else %}{% set content = message['content'] %}{% endif %}"
    "{% if message['role'] == 'user' %}{{ bos_token + '[INST] ' + content.strip() + ' [/INST]' }}"
    "{% elif message['role'] == 'assistant' %}{{ ' ' + content.strip() + ' ' + eos_token }}{% endif %}{% endfor %}"
)
MISTRAL_1 = (
    "{{ bos_token }}{% for message in messages %}{% if message['role'] == 'user' %}"
    "{{ '[INST] ' + message['content'] + ' [/INST]' }}{% elif message['role'] == 'assistant' %}"
    "{{ message['content'] + eos_token + ' ' }}{% endif %}{% endfor %}"
)
MISTRAL_2 = (
    "{%- if messages[0]['role'] == 'system' %}{%- set system_message = messages[0]['content'] %}"
    "{%- set loop_messages = messages[1:] %}{%- else %}{%- set loop_messages = messages %}{%- endif %}{{- bos_token }}"
    "{%- for message in loop_messages %}{%- if message['role'] == 'user' %}"
    "{%- if loop.first and system_message is defined %}"
    "{{- ' [INST] ' + system_message + '\\n\\n' + message['content'] + ' [/INST]' }}{%- else %}"
    "{{- ' [INST] ' + message['content'] + ' [/INST]' }}{%- endif %}{%- elif message['role'] == 'assistant' %}"
    "{{- ' ' + message['content'] + eos_token }}{%- endif %}{%- endfor %}"
)
MISTRAL_3 = (
    '{%- if messages[0]["role"] == "system" %}{%- set system_message = messages[0]["content"] %}'
    "{%- set loop_messages = messages[1:] %}{%- else %}{%- set loop_messages = messages %}{%- endif %}{{- bos_token }}"
    '{%- for message in loop_messages %}{%- if message["role"] == "user" %}'
    "{%- if loop.last and system_message is defined %}"
    '{{- "[INST] " + system_message + "\\n\\n" + message["content"] + "[/INST]" }}{%- else %}'
    '{{- "[INST] " + message["content"] + "[/INST]" }}{%- endif %}{%- elif message["role"] == "assistant" %}'
    '{{- " " + message["content"]|trim + eos_token}}{%- endif %}{%- endfor %}'
)
GEMMA = (
    "{{ bos_token }}\n{%- if messages[0]['role'] == 'system' -%}\n"
    "    {%- set first_user_prefix = messages[0]['content'] + '\n\n' -%}\n"
    "    {%- set loop_messages = messages[1:] -%}\n{%- else -%}\n"
    "    {%- set first_user_prefix = \"\" -%}\n    {%- set loop_messages = messages -%}\n{%- endif -%}\n"
    "{%- for message in loop_messages -%}\n"
    "    {%- if (message['role'] == 'assistant') -%}\n        {%- set role = \"model\" -%}\n    {%- else -%}\n"
    "        {%- set role = message['role'] -%}\n    {%- endif -%}\n"
    "    {{ '<start_of_turn>' + role + '\n' + (first_user_prefix if loop.first else \"\") }}\n"
    "    {{- message['content'] | trim -}}\n    {{ '<end_of_turn>\n' }}\n{%- endfor -%}\n"
    "{%- if add_generation_prompt -%}\n    {{'<start_of_turn>model\n'}}\n{%- endif -%}\n"
)
LLAMA3 = (
    "{% set loop_messages = messages %}{% for message in loop_messages %}"
    "{% set content = '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n'+ message['content'] | trim + "
    "'<|eot_id|>' %}{% if loop.index0 == 0 %}{% set content = bos_token + content %}{% endif %}{{ content }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"
)
LLAMA31 = (
    '{{- bos_token }}\n{%- if not date_string is defined %}\n    {%- set date_string = "26 Jul 2024" %}\n{%- endif %}\n'
    "{%- if messages[0]['role'] == 'system' %}\n    {%- set system_message = messages[0]['content']|trim %}\n"
    "    {%- set messages = messages[1:] %}\n{%- else %}\n    {%- set system_message = \"\" %}\n{%- endif %}\n"
    '{{- "<|start_header_id|>system<|end_header_id|>\\n\\n" }}\n'
    '{{- "Cutting Knowledge Date: December 2023\\n" }}\n{{- "Today Date: " + date_string + "\\n\\n" }}\n'
    '{{- system_message }}\n{{- "<|eot_id|>" }}\n{%- for message in messages %}\n'
    "    {{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n'+ message['content'] | trim + "
    "'<|eot_id|>' }}\n{%- endfor %}\n{%- if add_generation_prompt %}\n"
    "    {{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}\n{%- endif %}\n"
)
CHATML = (
    "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)

SYSTEM = {"role": "system", "content": "Answer in  one line.\n"}
USER = {"role": "user", "content": "  What is <b>UTF-8</b>?\u3000\n"}
MORE = [
    {"role": "assistant", "content": " A way to write Unicode. "},
    {"role": "user", "content": "<|im_end|></s><end_of_turn><|eot_id|> Zażółć 水\u00a0"},
]
CHATS = {"user": [USER], "system": [SYSTEM, USER], "turns": [USER] + MORE, "system_turns": [SYSTEM, USER] + MORE}


def qwen_template():
    cache = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache")
    path = cache / "fathom/models/qwen2.5-coder-0.5b/qwen2.5-coder-0.5b.gguf"
    kept = HERE / "qwen2.5-coder-0.5b.jinja"
    if path.exists():
        import gguf

        field = gguf.GGUFReader(path).fields["tokenizer.chat_template"]
        kept.write_text(field.contents())
    return kept.read_text()


def literal(text):
    """A C++ string literal; bytes above ASCII in octal."""
    escape = {0x22: '\\"', 0x5C: "\\\\", 0x0A: "\\n"}
    body = "".join(escape.get(b) or (chr(b) if 32 <= b < 127 else f"\\{b:03o}") for b in text.encode())
    return f'"{body}"'


def main():
    environment = jinja2.Environment(trim_blocks=True, lstrip_blocks=True)
    environment.filters["tojson"] = json.dumps
    templates = {
        "chatml": ("qwen2.5", qwen_template(), "", ""),
        "chatml_plain": ("chatml", CHATML, "", ""),
        "gemma": ("gemma3", GEMMA, "<bos>", "<eos>"),
        "llama2": ("llama2", LLAMA2, "<s>", "</s>"),
        "llama3": ("llama3", LLAMA3, "<|begin_of_text|>", "<|end_of_text|>"),
        "llama31": ("llama3.1", LLAMA31, "<|begin_of_text|>", "<|end_of_text|>"),
        "mistral1": ("mistral1", MISTRAL_1, "<s>", "</s>"),
        "mistral2": ("mistral2", MISTRAL_2, "<s>", "</s>"),
        "mistral3": ("mistral3", MISTRAL_3, "<s>", "</s>"),
    }
    out = [
        "// What jinja2 renders from chat templates: written by chat_oracle.py. Next: chat_golden_test.cc.",
        "#pragma once",
        "",
        "namespace fathom {",
        "",
        "struct GoldenMessage {",
        "  const char* role;",
        "  const char* content;",
        "};",
        "",
        "struct GoldenChat {",
        "  const char* name;",
        "  const char* source;  // the template",
        "  const char* bos;",
        "  const char* eos;",
        "  GoldenMessage messages[4];  // null after the last",
        "  const char* prompt;",
        "};",
        "",
        "// clang-format off",
    ]
    cases = []
    for (key, (name, source, bos, eos)), (chat, messages) in itertools.product(templates.items(), CHATS.items()):
        if key == "mistral1" and messages[0]["role"] == "system":
            continue  # that template knows no system role
        if chat == "user":
            out.append(f"inline constexpr char kTemplate_{key}[] = {literal(source)};")
        template = environment.from_string(source)
        prompt = template.render(messages=messages, add_generation_prompt=True, bos_token=bos, eos_token=eos, tools=None)
        said = ", ".join(f"{{{literal(m['role'])}, {literal(m['content'])}}}" for m in messages)
        cases.append(f'    {{"{name}/{chat}", kTemplate_{key}, {literal(bos)}, {literal(eos)}, {{{said}}}, {literal(prompt)}}},')
    out += ["inline constexpr GoldenChat kGoldenChats[] = {", *cases, "};", "// clang-format on", "", "}  // namespace fathom"]
    (HERE / "chat_golden.h").write_text("\n".join(out) + "\n")
    print(f"chat_golden.h: {len(cases)} prompts of {len(templates)} templates")


main()
