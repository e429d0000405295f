"""What torch.compile takes for constants costs nothing where nothing is compiled."""

from __future__ import annotations

import subprocess
import sys

from steel_megatron.ops.constants import constant_in_graphs, mark_constants


def test_a_process_that_compiles_nothing_does_not_load_the_compiler() -> None:
    modules = "steel_megatron.cli.main, steel_megatron.training.run, steel_megatron.plan.measure"
    program = f"import sys, {modules}; sys.exit('torch._dynamo' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_functions_stay_what_they_are() -> None:
    @constant_in_graphs
    def three() -> int:
        return 3

    mark_constants()
    mark_constants()
    assert three() == 3
