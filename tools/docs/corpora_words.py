"""The words of docs/corpora.md that the code does not hold, and the Chinese of those that it does."""

from corpora_words_published import PUBLISHED

# ruff: noqa: E501 - Chinese characters count as two, and the pages are wrapped as text

HEADINGS = {
    "en": {
        "corpora": "The corpora",
        "overview_columns": "`--corpus`|what it is|text",
        "files": "Files: ",
        "download": "Published as: ",
        "licence": "Licence, as its publisher states it: ",
        "caution": "To know: ",
        "field_columns": "field|what it holds",
        "option_columns": "option|default|meaning",
        "reason_columns": "reject reason|what it says",
        "example": "A record, and what becomes of it:",
        "reasons": "Reject reasons of all corpora",
    },
    "zh": {
        "corpora": "各语料",
        "overview_columns": "`--corpus`|内容|文本",
        "files": "文件：",
        "download": "发布于：",
        "licence": "许可（以发布方为准）：",
        "caution": "注意：",
        "field_columns": "字段|内容",
        "option_columns": "选项|默认值|含义",
        "reason_columns": "拒收原因|含义",
        "example": "一条记录，以及转换结果：",
        "reasons": "所有语料共有的拒收原因",
    },
}

HEAD = {
    "en": """# Corpora

Written by `python tools/docs/corpora.py` from the code; do not edit.

`steel convert` makes `{"text", "source", "id"}` JSON lines of each corpus as it was published:

```bash
steel convert --corpus wanjuan --input raw/nlp/CN --output text/wanjuan_cn.jsonl.zst --workers 16
```

`--input` takes files, folders, glob patterns, and URLs of these that fsspec knows (`s3://bucket/folder`, `hf://…`; each
file system needs its own package). `datasets://NAME:CONFIG@SPLIT` streams a data set by its name, as
`datasets://HuggingFaceFW/fineweb-2:cmn_Hani@train` (`pip install "steel-megatron[datasets]"`; the split is `train` where none is given), a
shard a part of the work; what `save_to_disk` saved is read as a folder. What a file holds is told from its content, not from its name, also in `.gz`, `.zst`,
`.bz2`, `.xz`, `.zip` and `.tar`; `id` then names the member: `a.tar.gz/part.jsonl:17`. Archives are read as a stream; members that hold
no records of the corpus are passed over and named in the manifest. Rejects and restarts are in [data.md](data.md).
""",
    "zh": """# 语料

由 `python tools/docs/corpora.py` 从代码生成，请勿手改。

`steel convert` 把公开发布的各语料原样读入，写成 `{"text", "source", "id"}` 的 JSON lines：

```bash
steel convert --corpus wanjuan --input raw/nlp/CN --output text/wanjuan_cn.jsonl.zst --workers 16
```

`--input` 可以是文件、文件夹、通配符，也可以是 fsspec 认识的 URL（`s3://bucket/folder`、`hf://…`，各文件系统要装自己的包）。
`datasets://NAME:CONFIG@SPLIT` 按名字流式读取数据集，如 `datasets://HuggingFaceFW/fineweb-2:cmn_Hani@train`
（`pip install "steel-megatron[datasets]"`；不写划分则为 `train`），每个分片是一份工作；`save_to_disk` 存下的直接给文件夹。
文件装的是什么，由内容而不是名字判断，`.gz`、`.zst`、`.bz2`、`.xz`、`.zip`、`.tar` 里面也一样；此时 `id` 写明包内文件：
`a.tar.gz/part.jsonl:17`。归档按流读取；其中没有该语料记录的文件会跳过，并记在清单里。拒收与断点续做见
[data.zh-CN.md](data.zh-CN.md)。
""",
}

REASONS_INTRO = {
    "en": "Records in = documents out + rejects by reason, checked at the end of every run.",
    "zh": "读入的记录数 = 写出的文档数 + 各原因拒收数之和，每次运行结束时核对。",
}

EXAMPLE = """```python
from steel_megatron.corpus.corpus import Corpus, Option, RejectedRecordError, optional_string, string


def text_of(record, options):
    answer = string(record, "answer")  # rejects a record without it, null, or no text
    if int(record.get("votes") or 0) < int(options["min_votes"]):
        raise RejectedRecordError("few_votes", str(record.get("votes")))
    return "\\n".join(filter(None, [string(record, "title"), optional_string(record, "desc"), answer]))


CORPUS = Corpus(
    name="some_qa",
    about="questions and answers of some site",
    fields={"title": "the question", "desc": "more of it, or null", "answer": "the answer", "votes": "a count"},
    template="title, desc if any, answer, on lines of their own",
    example={"title": "问", "desc": None, "answer": "答", "votes": 3},
    text=text_of,
    options=(Option("min_votes", "0", "Answers with fewer votes are rejected."),),
    reasons={"few_votes": "the answer has fewer votes than --min-votes"},
)
```
"""

TAIL = {
    "en": f"""## Chat templates

`belle`, `moss`, `firefly` and `chat` write conversations by ChatML, with Qwen's system line. `--chat-template FOLDER_OR_FILE` takes a
tokenizer's own: `chat_template.jinja`, or `chat_template` in `tokenizer_config.json`. It runs in Jinja's sandbox, with a
placeholder for every turn; what the turn says is put in afterwards. Its control marks are the special tokens of the
tokenizer's files; a template without those has the marks that are written like `<|this|>`.

`"control": [[start, end], …]` says where the marks stand in `text`, in Unicode code points. Everything else is plain text, also
a `<|im_end|>` that somebody wrote. Blank lines before a turn and white space behind it go; the rest of it is kept.

`chat` takes calls of tools too. Their signatures go behind the system's words in `<tools>`, each call into its answer as `<tool_call>`, and
what tools gave into a user's turn as `<tool_response>`, word for word as the templates of Qwen2.5 and Hermes have it, whatever
`--chat-template` says: only the turns around them are the template's. A system turn that lists its tools itself is left alone.

## Tables, texts and PDF

The first row of a table is its header. Cells are separated by commas, tabs, semicolons or bars. A quotation mark that is not
closed costs its line. A text file is one document (`text`), or each of its lines is (`text_lines`), or what stands between blank lines
(`text_blocks`). Texts and tables are UTF-8, UTF-16 with a byte order mark, GB18030 or Big5, which is told from how
many characters are frequent ones; for others charset-normalizer is asked. Of a PDF, the text that its program put in is taken; there is
no character recognition, so a scanned PDF is a reject, and so is each scanned page of another. Lines that recur at the top or bottom
of pages and page numbers go; a line that reaches about as far as most do goes on in the next, also over pages and broken words. Columns
side by side come as the PDF has them. A Word document's heads, feet, notes and computed list numbers are left.

## Pages and crawls

`html` and `warc` leave menus and foots to trafilatura or resiliparse (`pip install "steel-megatron[web]"`). A page is read in UTF-8 where its bytes say
so, else as the server or the page says where that fits (GB2312 is read as GB18030), else as its bytes look. Of a WARC file, answers
with status 200 that hold HTML or plain text are documents, also in chunks and packed by gzip, deflate or zstd (not by brotli); requests, metadata
and the crawler's notes are no records, everything else is a reject by reason. A WARC file that is cut gives what came before, and one reject.

## Adding a corpus

A file in `steel_megatron/corpus/corpora/`; it is found by being there.

{EXAMPLE}
Options become flags of `steel convert`. Its Chinese words go to `tools/docs/corpora_words.py`, and a test with records as they
come, good and bad, to `tests/corpus/test_published_corpora.py`.
""",
    "zh": f"""## 对话模板

`belle`、`moss`、`firefly`、`chat` 按 ChatML 写对话，系统提示用 Qwen 的那一句。`--chat-template FOLDER_OR_FILE` 换成分词器自己的模板：
`chat_template.jinja`，或 `tokenizer_config.json` 里的 `chat_template`。模板在 Jinja 沙箱里运行，每一轮先用占位符，之后才放入
说的话。控制标记就是分词器文件里的特殊 token；没有这些文件时，写成 `<|this|>` 样子的算标记。

`"control": [[start, end], …]` 记下标记在 `text` 里的位置，以 Unicode 码点计。其余都是普通文本，包括有人写在话里的
`<|im_end|>`。每轮开头的空行和结尾的空白去掉，其余保留。

`chat` 也读工具调用：工具的签名写在系统提示之后的 `<tools>` 里，每个调用写进回答的 `<tool_call>`，工具的返回写成用户的一轮
`<tool_response>`，与 Qwen2.5、Hermes 的模板逐字相同；无论 `--chat-template` 给什么，模板只决定各轮外面的标记。系统提示自己已列出
工具的，保持原样。

## 表格、文本与 PDF

表格第一行是表头；单元格用逗号、制表符、分号或竖线隔开。没有闭合的引号只损失它所在的那一行。文本文件可以整个是一篇（`text`）、
每行一篇（`text_lines`）或以空行分篇（`text_blocks`）。文本和表格可以是 UTF-8、带字节序
标记的 UTF-16、GB18030 或 Big5，由常用字所占比例判断；其他编码交给 charset-normalizer。PDF 取制作程序写入的文字，逐页相接；
不做文字识别，因此扫描的 PDF 会被拒收，其他 PDF 里扫描的页也各拒收一条。页眉页脚里重复出现的行和页码去掉；一行若与多数行差不多长，
就与下一行相接，跨页和被断开的单词也一样。并排的分栏按 PDF 里的先后。Word 文档的页眉、页脚、脚注和自动编号不取。

## 网页与抓取

`html` 与 `warc` 用 trafilatura 或 resiliparse 去掉菜单和页脚（`pip install "steel-megatron[web]"`）。字节表明是 UTF-8 的按 UTF-8 读，否则按
服务器或网页自己的声明（合得上的话；GB2312 按 GB18030 读），再不然由字节判断。WARC 文件里，状态为 200、内容是 HTML 或纯文本的应答
成为文档，分块传输的和用 gzip、deflate、zstd 压缩的也读（brotli 除外）；请求、元数据和抓取程序的记录不算记录，其余按原因拒收。
被截断的 WARC 文件，之前的照取，并有一条拒收。

## 增加一个语料

在 `steel_megatron/corpus/corpora/` 放一个文件即可，会自动找到。

{EXAMPLE}
选项会成为 `steel convert` 的命令行参数。中文说明写在 `tools/docs/corpora_words.py`，测试写在
`tests/corpus/test_published_corpora.py`，用好的和坏的真实形式的记录。
""",
}

CHINESE = PUBLISHED | {
    "json lines": "JSON lines",
    "json array": "JSON 数组",
    "json objects over several lines": "跨行的 JSON 对象",
    "parquet": "parquet",
    "text": "文本",
    "csv": "csv",
    "xlsx": "xlsx",
    "arrow": "arrow",
    "text, a document a line": "文本，每行一篇",
    "text, documents between blank lines": "文本，以空行分篇",
    "html": "HTML",
    "pdf": "PDF",
    "docx": "docx",
    "epub": "EPUB",
    "warc": "WARC",
    "Finds the main text of a page: trafilatura is more exact, resiliparse many times as fast; all: all text.": "找出网页正文的工具：trafilatura 更准，resiliparse 快许多倍；all 取全部文字。",
    "no main text is found on the page": "网页里找不到正文",
    "pages of HTML, one document each": "HTML 网页，每个文件一篇文档",
    "its main text, a block a line": "正文，每块一行",
    "crawls as WARC or WET files, a document of each page": "WARC 或 WET 形式的抓取，每页一篇文档",
    "of WARC: the page that a server sent": "WARC：服务器发来的网页",
    "of WET, or of a page that is plain text: as it is": "WET，或纯文本的页面：原样",
    "of WET: the languages that the crawler found, the first one counts": "WET：抓取方识别的语言，以第一个为准",
    "the record's": "记录的编号",
    "of HTML its main text, a block a line; of WET the text": "HTML 取正文，每块一行；WET 取文本",
    "it is no page: a picture, a script, a PDF …": "不是网页：图片、脚本、PDF 等",
    "the server sent no page: moved, not found, …": "服务器没有发来网页：已移走、找不到等",
    "it stands for a page of an earlier crawl": "代表以前抓取过的页面",
    "what the server sent is no HTTP, or cannot be unpacked": "服务器发来的不是 HTTP，或解不开",
    "the file is damaged or cut here": "文件从这里起损坏或被截断",
    "of Common Crawl; pages belong to their authors": "Common Crawl 的条款；网页属于各自作者",
    "A file is one part of the work, so give many: a crawl has thousands.": "一个文件是一份工作，不再切分，请给多个文件：一次抓取有几千个。",
    "Word documents (.docx), one document each": "Word 文档（.docx），每个文件一篇文档",
    "paragraphs, headings and tables of the body": "正文的段落、标题与表格",
    "a paragraph a line, # before headings, cells of tables separated by tabs": "每段一行，标题前有 #，表格的单元格以制表符隔开",
    "books as EPUB, one document each": "EPUB 图书，每本一篇文档",
    "the chapters, in the order of the spine": "各章，按 spine 的顺序",
    "a block a line": "每块一行",
    "BaiduBaike-5.63M, a Chinese encyclopedia": "BaiduBaike-5.63M，中文百科",
    "title, summary if any, each section as heading and body, on lines of their own; footnote marks go": (
        "标题、摘要（若有）、各节的小标题与正文，各占一行；脚注标记去掉"
    ),
    "the entry's name": "词条名",
    "null in most": "多数为 null",
    "title and content of each": "各节的 title 与 content",
    "neither a summary nor a section with content": "既无摘要，也没有有内容的节",
    "sections is no list of objects": "sections 不是对象的列表",
    "Baidu Baike questions and answers (baike_qa2019)": "百度百科问答（baike_qa2019）",
    "title, desc where it says something else, answer, on lines of their own": (
        "title、desc（与 title 不同时）、answer，各占一行"
    ),
    "the question": "问题",
    "more of it, or the same again": "补充说明，或与标题相同",
    "the answer": "回答",
    "its name": "编号",
    "the answer is empty": "回答为空",
    "BELLE, Chinese instructions and conversations, in its three shapes": "BELLE，中文指令与对话，三种形式",
    "chat template; instruction and input are one question": "对话模板；instruction 与 input 合成一个问题",
    "of one turn; or instruction is the dialogue so far (Human: … Assistant: …)": (
        "单轮；或 instruction 是此前的对话（Human: … Assistant: …）"
    ),
    "turns of from (human, assistant) and value": "各轮的 from（human、assistant）与 value",
    "its name, where it has one": "编号（若有）",
    "How turns become text: chatml, or a tokenizer's own template, given by its folder or a file of Jinja.": (
        "如何把各轮写成文本：chatml，或分词器自己的模板（给出文件夹或 Jinja 文件）。"
    ),
    "the conversation has no turn": "对话没有任何一轮",
    "a turn of somebody who is neither user, assistant, tool nor system": "说话者不是 user、assistant、tool 或 system",
    "the turns are not user, assistant, user, assistant …": "轮次不是 user、assistant 交替",
    "the conversation ends with a question, or with what a tool gave": "对话以提问或工具的返回结束",
    "any conversations as messages (OpenAI) or conversations (ShareGPT), tools included": "任何写成 messages（OpenAI）或 conversations（ShareGPT）的对话，含工具",
    "chat template; tools, their calls and what they give as Qwen and Hermes write them": "对话模板；工具、调用与返回按 Qwen 与 Hermes 的写法",
    "the turns; also as JSON text, or named conversation, dialogue, items": "各轮；也可以是 JSON 文本，或名为 conversation、dialogue、items",
    "of a turn: system, user or human, assistant or gpt, tool, function_call, observation …": "每轮的角色：system、user 或 human、assistant 或 gpt、tool、function_call、observation 等",
    "what is said: text, or parts of type text": "所说的话：文本，或类型为 text 的若干段",
    "of an answer: name and arguments of each": "回答里的调用：各自的名字与参数",
    "beside the turns: signatures of tools, the system's words": "与各轮并列：工具的签名、系统提示",
    "a turn holds an image, sound or video": "某一轮含图像、声音或视频",
    "a call of a tool has no name, or is no JSON": "工具调用没有名字，或不是 JSON",
    "the list of tools is no list of JSON objects": "工具列表不是 JSON 对象的列表",
    "text files, documents separated by blank lines": "文本文件，以空行分篇",
    "the lines between two blank ones": "两个空行之间的各行",
    "text files, a document in each line": "文本文件，每行一篇",
    "the line": "这一行",
    "a turn has no text": "某一轮没有文字",
    "the chat template takes no such conversation": "对话模板不接受这样的对话",
    "what people send: questionnaires (csv, xlsx), txt, PDF, docx, EPUB": "大家贡献的材料：问卷（csv、xlsx）、txt、PDF、docx、EPUB",
    "question: answer, on a line each; of a single question, the answer alone; files as they are": (
        "每行一个“问题：回答”；只有一个问题时只写回答；文件原样"
    ),
    "each row; columns of the survey service, names and addresses are left out": (
        "每行一份；问卷平台自带的列、姓名与联系方式不取"
    ),
    "the whole file": "整个文件",
    "Columns that make the text, in this order, separated by commas; none: all.": (
        "组成文本的列，按此顺序，用逗号隔开；不给则取全部。"
    ),
    "none of the columns that make the text has anything in this row": "这一行里组成文本的各列都是空的",
    "firefly-train-1.1M, Chinese instructions of 23 kinds": "firefly-train-1.1M，23 类中文指令",
    "chat template": "对话模板",
    "any records with a text field": "任何带文本字段的记录",
    "as it is": "原样",
    "the text": "文本",
    "a name of the record, if it has one": "记录的编号（若有）",
    "Field that holds the text.": "装文本的字段。",
    "Field that names the record; file and number do where it is not there.": "记录编号的字段；没有时用文件名加序号。",
    "moss-003-sft, conversations, as re-released and in the original files": "moss-003-sft 对话，重新发布的与原始的文件",
    "chat template; marks such as <|Human|>: and <eoh> go, and so do inner thoughts and the meta instruction": (
        "对话模板；<|Human|>: 与 <eoh> 之类的标记、内心想法和 meta instruction 都去掉"
    ),
    "turns of human and assistant": "各轮的 human 与 assistant",
    "of the original: turn_1, turn_2 … with Human, MOSS, Commands, Tool Responses": (
        "原始文件：turn_1、turn_2 …，各有 Human、MOSS、Commands、Tool Responses"
    ),
    "answers that rest on commands to tools, which are no part of the text": "回答依据工具调用的结果，而它们不在文本里",
    "PDF files that hold text, one document each": "有文字的 PDF，每个文件一篇文档",
    "a paragraph a line: lines, words and sentences that pages break are joined": "每段一行：被换行换页断开的行、词、句都接上",
    "the text of all pages, without heads, feet and page numbers": "所有页的文字，去掉页眉、页脚与页码",
    "its path below the folder given": "在所给文件夹下的路径",
    "SkyPile-150B, Chinese web pages": "SkyPile-150B，中文网页",
    "the page, paragraphs separated by line feeds": "网页正文，段落以换行分隔",
    "starcoderdata, source code by language": "starcoderdata，按语言分的源代码",
    "content without <reponame>…<filename>…<gh_stars>… at its head, or with them as a comment": (
        "content，开头的 <reponame>…<filename>…<gh_stars>… 去掉或写成注释"
    ),
    "the source file": "源文件",
    "its path, which tells the language": "路径，由它得知语言",
    "What becomes of <reponame>, <filename> and <gh_stars> at a file's head: remove them, or write their values as a "
    "comment where the language has one.": (
        "文件开头的 <reponame>、<filename>、<gh_stars> 如何处理：去掉（remove），或在该语言有行注释时写成注释（comment）。"
    ),
    "any csv or xlsx table, one document per row": "任何 csv 或 xlsx 表格，每行一篇文档",
    "column: cell, on a line each; of a single column, the cell alone": "每行一个“列名：内容”；只有一列时只写内容",
    "the columns that make the text; all where not given": "组成文本的列；不给则取全部",
    "text and Markdown files, one document each": "文本与 Markdown 文件，每个一篇文档",
    "the file's content": "文件内容",
    "WanJuan 1.0, texts in Chinese and English, exam questions among them": "WanJuan 1.0，中英文文本，其中有试题",
    "content; of an exam: the question, lettered options on lines of their own, answer, explanation": (
        "content；试题：题干、带字母的选项各占一行、答案、解析"
    ),
    "of Exam-cn, which has no content": "Exam-cn 的字段，它没有 content",
    "an exam question with neither answer nor explanation": "试题既无答案也无解析",
    "Chinese Wikipedia of 2023-07-20, filtered by pleisto": "2023-07-20 的中文维基百科，pleisto 过滤",
    "as it is; the title is inside": "原样；标题在其中",
    "the entry, its title inside": "词条，标题在其中",
    "Zhihu-KOL, questions and upvoted answers": "Zhihu-KOL，问题与获赞的回答",
    "question, answer, on lines of their own": "问题、回答，各占一行",
    "JSON, its upvotes": "JSON，取其中的 upvotes",
    "Answers with fewer upvotes are rejected.": "赞同数少于此值的回答拒收。",
    "the answer has fewer upvotes than --min-upvotes": "回答的赞同数少于 --min-upvotes",
    "METADATA is not JSON with upvotes that can be read": "METADATA 不是带可读 upvotes 的 JSON",
    "it is not UTF-8": "不是 UTF-8",
    "it is not JSON": "不是 JSON",
    "it is longer than a record may be": "超过一条记录允许的长度",
    "a text file holds NUL bytes": "文本文件里有 NUL 字节",
    "bytes that are no text in the encoding of the rest of the file, or in any that is known": (
        "按文件其余部分的编码或任何已知编码都不是文字的字节"
    ),
    "a table's row has more cells than its header, or a quotation mark that is not closed": (
        "表格的一行比表头多出单元格，或引号没有闭合"
    ),
    "the xlsx file cannot be read": "xlsx 文件读不了",
    "the PDF cannot be read": "PDF 读不了",
    "the PDF has pages but next to no text: it is scanned, or drawn": "PDF 有页面但几乎没有文字：是扫描或绘制的",
    "the docx file cannot be read": "docx 文件读不了",
    "the EPUB cannot be read": "EPUB 读不了",
    "a page of a PDF is a picture; the others are taken": "PDF 的某一页是图片；其余各页照取",
    "a PDF, a book or an archive's member is locked, or wants a password": "PDF、图书或归档里的文件有锁或要密码",
    "it is JSON, but not an object": "是 JSON，但不是对象",
    "a field that the corpus needs is not there": "缺少语料需要的字段",
    "a field that the corpus needs is null": "语料需要的字段是 null",
    "a field that holds text holds a number, a list, …": "应为文本的字段是数字、列表等",
    "the text holds half of a surrogate pair, which is no character": "文本含半个代理对，不是字符",
    "the text has no character but white space": "文本只有空白",
    "the corpus's code failed on it; the detail names the exception": "语料的代码在它上面出错；详情写明异常",
}
