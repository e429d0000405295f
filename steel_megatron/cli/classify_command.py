"""Classifiers of texts: train one on examples, score records with it or several, and look at what they say."""

from __future__ import annotations

import argparse

from steel_megatron.cli.shared_flags import add_engine, add_skip_damaged, add_strict
from steel_megatron.config import (
    COUNT,
    POSITIVE,
    PROCESSES,
    Amount,
    add_number,
    at_least,
    share,
)
from steel_megatron.jobs.sizes import parse_size

_INPUT = "Files, folders, glob patterns or URLs of JSON lines, plain or packed."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of the actions of ``steel classify``."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="train|score|report|train-ngram")
    _add_train(actions.add_parser("train", help="examples of two or more kinds of texts → a classifier"))
    _add_score(actions.add_parser("score", help="records with their scores, all of them or the best ones"))
    _add_report(actions.add_parser("report", help="a page: scores, texts at each decile, agreement of classifiers"))
    _add_train_ngram(actions.add_parser("train-ngram", help="good texts → a language model, for perplexity"))


def _add_train(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--good", nargs="+", action="extend", metavar="PATH", help=f"Examples to keep. {_INPUT}")
    parser.add_argument("--bad", nargs="+", action="extend", metavar="PATH", help="Examples to leave out.")
    parser.add_argument(
        "--label",
        nargs="+",
        action="append",
        default=[],
        metavar=("NAME", "PATH"),
        help="Instead of --good and --bad: the name of a kind of texts and its examples; once for each kind.",
    )
    parser.add_argument(
        "--output", required=True, metavar="FILE", help="The classifier to write; scores bear its name."
    )
    parser.add_argument("--json-key", default="text", metavar="KEY", help="Field that holds the text (default: text).")
    add_number(parser, "--held-out", share(one=False), "Share of the texts it is tried on.", kind=float, default=0.1)
    parser.add_argument(
        "--max-bytes",
        type=Amount("--max-bytes", parse_size, POSITIVE),
        default="200M",
        metavar="SIZE",
        help="Of the files of each label, from the head of each by its size (above 0; default: 200M); texts take about "
        "ten times their size in memory.",
    )
    add_number(parser, "--epochs", at_least(1, most=1000), "Passes over the texts.", default=5)
    add_number(parser, "--rate", POSITIVE, "Learning rate of AdaGrad.", kind=float, default=1.0)
    add_number(parser, "--bits", at_least(8, most=24), "Features are numbered below 2^bits.", default=20)
    add_number(parser, "--order", at_least(1, most=4), "Characters of the longest n-gram.", default=4)
    parser.add_argument("--no-words", action="store_true", help="Do not look at words and pairs of words.")
    add_number(parser, "--characters", COUNT, "Read of a text, from its beginning.", default=10_000)
    parser.add_argument("--weight-bits", choices=("8", "16"), default="16", help="In the file (default: 16).")
    add_number(parser, "--seed", at_least(0), "Of the order of texts, and of which are held out.", default=1)
    parser.add_argument("--overwrite", action="store_true", help="Replace a file that is there.")


def _add_score(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--model",
        nargs="+",
        required=True,
        metavar="FILE",
        help="Classifiers; with several of two labels a record's rank is the largest that any gives.",
    )
    parser.add_argument("--input", nargs="+", required=True, help=_INPUT)
    parser.add_argument(
        "--output", required=True, metavar="PATH", help="A folder of shards, or FILE.jsonl or FILE.jsonl.zst."
    )
    parser.add_argument("--json-key", default="text", metavar="KEY", help="Field that holds the text (default: text).")
    parser.add_argument(
        "--field", default="quality", metavar="NAME", help="Begins the names of the fields added (default: quality)."
    )
    kept = parser.add_mutually_exclusive_group()
    add_number(kept, "--min-score", share(), "Leave out records of a lower score.", kind=float, default=0.0)
    add_number(
        kept, "--keep-best", share(zero=False), "Keep this share, of the largest ranks.", kind=float, default=1.0
    )
    parser.add_argument("--keep-label", nargs="+", default=[], metavar="LABEL", help="Leave out records of others.")
    add_number(parser, "--workers", PROCESSES, "Processes at once.", default=1)
    add_engine(parser)
    add_strict(parser)
    add_skip_damaged(parser)
    parser.add_argument("--overwrite", action="store_true", help="Replace an output that is there.")


def _add_report(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", nargs="+", required=True, metavar="FILE", help="Classifiers of two labels.")
    parser.add_argument("--input", nargs="+", required=True, help=_INPUT)
    parser.add_argument("--output", required=True, metavar="FILE", help="The page to write, FILE.html.")
    parser.add_argument("--json-key", default="text", metavar="KEY", help="Field that holds the text (default: text).")
    parser.add_argument(
        "--max-bytes",
        type=Amount("--max-bytes", parse_size, POSITIVE),
        default="50M",
        metavar="SIZE",
        help="Of the files, from the head of each by its size (above 0; default: 50M).",
    )


def _add_train_ngram(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--input", nargs="+", required=True, help=_INPUT)
    parser.add_argument("--output", required=True, metavar="FILE", help="The language model to write.")
    parser.add_argument("--arpa", default="", metavar="FILE", help="Also write it in the form that KenLM reads.")
    parser.add_argument("--json-key", default="text", metavar="KEY", help="Field that holds the text (default: text).")
    add_number(parser, "--order", at_least(2, most=8), "Characters of the longest n-gram.", default=5)
    add_number(parser, "--least-count", COUNT, "Of n-grams of three and more characters that are kept.", default=2)
    add_number(parser, "--characters", COUNT, "Read of a text, from its beginning.", default=10_000)
    parser.add_argument(
        "--max-bytes",
        type=Amount("--max-bytes", parse_size, POSITIVE),
        default="100M",
        metavar="SIZE",
        help="Of the files, from the head of each by its size (above 0; default: 100M); in memory they take up to "
        "fifty times their size.",
    )
    parser.add_argument("--overwrite", action="store_true", help="Replace a file that is there.")


def run(args: argparse.Namespace) -> int:
    """Calls the action."""
    from steel_megatron.cli import classify_actions

    actions = {
        "train": classify_actions.train,
        "score": classify_actions.score_records,
        "report": classify_actions.report,
        "train-ngram": classify_actions.train_ngram,
    }
    return actions[args.action](args)
