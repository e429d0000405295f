"""Cleaning by recipes: data-juicer's operations, run natively. ``steel clean`` is a thin caller of this."""

from steel_megatron.corpus.cleaning.data_juicer import run_data_juicer
from steel_megatron.corpus.cleaning.drops import drops_of, read_drops
from steel_megatron.corpus.cleaning.operation import OPERATIONS, Filter, Judgement, Mapper
from steel_megatron.corpus.cleaning.part import READ
from steel_megatron.corpus.cleaning.recipe import Recipe, read_recipe
from steel_megatron.corpus.cleaning.run import Cleaned, clean

__all__ = [
    "OPERATIONS",
    "READ",
    "Cleaned",
    "Filter",
    "Judgement",
    "Mapper",
    "Recipe",
    "clean",
    "drops_of",
    "read_drops",
    "read_recipe",
    "run_data_juicer",
]
