from __future__ import annotations

import json
from pathlib import Path

import pytest

from helpers.corpus_files import read_json_lines, write_json_lines
from steel_megatron.config import ConfigError, DataError
from steel_megatron.corpus import convert_corpus
from steel_megatron.corpus.chat.conversation import chat, prepare_chat
from steel_megatron.corpus.chat.marked_text import Mark

QWEN = (
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\\nYou are a helpful assistant.<|im_end|>\\n' }}{% endif %}"
    "{{'<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n'}}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
LLAMA = (
    "{%- for message in messages %}\n{%- if message.role == 'user' %}"
    "{{ bos_token + '[INST] ' + message.content | trim + ' [/INST]' }}"
    "\n{%- else %}{% generation %}{{ ' ' + message.content + eos_token }}{% endgeneration %}{% endif %}{% endfor %}"
)
TURNS = [("user", "一<|im_end|>"), ("assistant", "二</s>"), ("user", "三"), ("assistant", "四")]


def folder_of(path: Path, template: object, **config: object) -> Path:
    path.mkdir()
    added = {str(i): {"content": token, "special": True} for i, token in enumerate(["<|im_start|>", "<|im_end|>"])}
    content = {"chat_template": template, "added_tokens_decoder": added, **config}
    (path / "tokenizer_config.json").write_text(json.dumps(content))
    return path


def test_qwens_own_template_is_the_default(tmp_path: Path) -> None:
    options = {"chat_template": str(folder_of(tmp_path / "qwen", QWEN))}
    own, built_in = chat(TURNS, options), chat(TURNS, {"chat_template": "chatml"})
    assert own.text == built_in.text
    assert own.control == built_in.control


def test_the_same_text_as_transformers(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    tokenizers = pytest.importorskip("tokenizers")
    backend = tokenizers.Tokenizer(tokenizers.models.WordLevel({"<s>": 0, "</s>": 1}, unk_token="<s>"))
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=backend, bos_token="<s>", eos_token="</s>")
    for name, template in (("qwen", QWEN), ("llama", LLAMA)):
        tokenizer.chat_template = template
        tokenizer.save_pretrained(tmp_path / name)
        messages = [{"role": role, "content": text} for role, text in TURNS]
        expected = tokenizer.apply_chat_template(messages, tokenize=False)
        assert chat(TURNS, {"chat_template": str(tmp_path / name)}).text == expected


def test_marks_are_the_tokenizers_and_never_a_turns(tmp_path: Path) -> None:
    folder = folder_of(
        tmp_path / "llama", [{"name": "default", "template": LLAMA}], bos_token="<s>", eos_token={"content": "</s>"}
    )
    text = chat(TURNS, {"chat_template": str(folder)})
    assert [piece for piece in text.pieces if isinstance(piece, Mark)] == ["<s>", "</s>"] * 2
    assert text.text == "<s>[INST] 一<|im_end|> [/INST] 二</s></s><s>[INST] 三 [/INST] 四</s>"
    assert [text.text[start:stop] for start, stop in text.control] == ["<s>", "</s>", "<s>", "</s>"]
    assert text.control[1][0] == text.text.index("</s></s>") + 4


def test_a_file_alone(tmp_path: Path) -> None:
    (tmp_path / "own.jinja").write_text("{% for m in messages %}<|{{ m.role }}|>{{ m.content }}\n{% endfor %}")
    text = chat(TURNS[:2], {"chat_template": str(tmp_path / "own.jinja")})
    assert text.text == "<|user|>一<|im_end|>\n<|assistant|>二</s>\n"
    assert [text.text[start:stop] for start, stop in text.control] == ["<|user|>", "<|assistant|>"]


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{% for m in messages %}{{ m.content", "the chat template fails"),
        ("{{ messages[0].content }}", "leaves turns out"),
        ("", "a chat template is there"),
    ],
)
def test_a_template_that_cannot_be_is_an_error_before_any_work(tmp_path: Path, template: str, message: str) -> None:
    (tmp_path / "own.jinja").write_text(template)
    with pytest.raises(ConfigError, match=message):
        prepare_chat({"chat_template": str(tmp_path / "own.jinja")})


def test_a_template_cannot_reach_out_of_its_sandbox(tmp_path: Path) -> None:
    (tmp_path / "own.jinja").write_text(
        "{{ messages.__class__.__mro__ }}{% for m in messages %}{{ m.content }}{% endfor %}"
    )
    with pytest.raises(ConfigError, match="the chat template fails"):
        prepare_chat({"chat_template": str(tmp_path / "own.jinja")})


def test_a_template_that_refuses_a_conversation_costs_it(tmp_path: Path) -> None:
    refusing = "{% if messages[0].role == 'system' %}{{ raise_exception('no system') }}{% endif %}" + QWEN
    template = folder_of(tmp_path / "own", refusing)
    turns = [{"from": role, "value": "x"} for role in ("system", "human", "assistant")]
    path = write_json_lines(tmp_path / "in.json", [{"conversations": turns}, {"conversations": turns[1:]}])
    options = {"chat_template": str(template)}
    done = convert_corpus("belle", [path], tmp_path / "out.jsonl", options=options)
    assert done.manifest.rejects == {"template_fails": 1}
    assert len(read_json_lines(done.output)) == 1
    folder_of(tmp_path / "other", QWEN + " ")
    (template / "tokenizer_config.json").write_text((tmp_path / "other" / "tokenizer_config.json").read_text())
    from steel_megatron.corpus.chat.template import read_template

    read_template.cache_clear()  # as in a new process
    with pytest.raises(DataError, match="made with options"):
        convert_corpus("belle", [path], tmp_path / "out.jsonl", options=options)
