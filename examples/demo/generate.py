"""Continues prompts with an exported model, using nothing but transformers.

Usage: python examples/demo/generate.py MODEL_FOLDER PROMPT …
"""

from __future__ import annotations

import argparse
import sys

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer


def main() -> int:
    """Prints each prompt with its continuation."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", metavar="FOLDER", help="folder that `steel export` wrote")
    parser.add_argument("prompts", nargs="+", metavar="PROMPT", help="text to continue")
    args = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    tokenizer = AutoTokenizer.from_pretrained(args.model)
    model = AutoModelForCausalLM.from_pretrained(args.model).to(device)
    torch.manual_seed(0)
    for prompt in args.prompts:
        inputs = tokenizer(prompt, return_tensors="pt").to(device)
        output = model.generate(**inputs, max_new_tokens=60, do_sample=True, temperature=0.7, top_k=40)
        print(f"--- {prompt!r}\n{tokenizer.decode(output[0], skip_special_tokens=True).rstrip()}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
