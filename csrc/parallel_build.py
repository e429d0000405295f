"""Compiles C++ files side by side, and only those that changed. For setup.py.

Variables:
    MAX_JOBS: compilers at once; without it as many as there are processors for this process.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from setuptools.command.build_ext import build_ext


def jobs() -> int:
    """How many compilers run at once.

    Raises:
        SystemExit: MAX_JOBS is no number of jobs.
    """
    asked = os.environ.get("MAX_JOBS", "")
    if asked and not (asked.isdecimal() and int(asked) > 0):
        raise SystemExit(
            f"steel_megatron: MAX_JOBS={asked}\n"
            "  rule: it is a number of compilers that run at once\n"
            "  fix:  unset it for one per processor"
        )
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return int(asked) if asked else usable


def out_of_date(made: Path, command: list[str]) -> bool:
    """Whether a file that ``command`` makes has to be made again: another command, or a source that is newer.

    ``made``.d is what the compiler wrote of the files it read, ``made``.command the last command that succeeded.
    """
    listed, kept = made.with_suffix(".d"), made.with_suffix(".command")
    if not (made.is_file() and listed.is_file() and kept.is_file()) or kept.read_text() != shlex.join(command):
        return True
    read = shlex.split(listed.read_text().replace("\\\n", " "))[1:]
    time = made.stat().st_mtime_ns
    return any(not os.path.isfile(path) or os.stat(path).st_mtime_ns > time for path in read)


class ParallelBuild(build_ext):
    """build_ext that takes the files of all extensions together, the costly ones first.

    Needs a compiler with GCC's options; with another it builds one file after the other.
    """

    def build_extensions(self) -> None:
        compiler: Any = self.compiler
        if compiler.compiler_type != "unix":
            return super().build_extensions()
        # The threads of the extensions only wait: for the pool, and then for their linker.
        self.parallel = len(self.extensions)
        self.extensions.sort(key=lambda ext: -sum(os.path.getsize(path) for path in [*ext.sources, *ext.depends]))
        with ThreadPoolExecutor(jobs()) as pool:
            compiler.compile = self._compile_in(pool)
            super().build_extensions()

    def flags_of(self, source: str) -> list[str]:
        """Options for one file, behind those of its extension."""
        return []

    def _compile_in(self, pool: ThreadPoolExecutor) -> Callable[..., list[str]]:
        compiler: Any = self.compiler

        def compile_all(
            sources: list[str],
            output_dir: str | None = None,
            macros: Any = None,
            include_dirs: Any = None,
            debug: bool = False,
            extra_preargs: Any = None,
            extra_postargs: Any = None,
            depends: Any = None,
        ) -> list[str]:
            _, objects, postargs, options, build = compiler._setup_compile(
                output_dir, macros, include_dirs, sources, depends, extra_postargs
            )
            options = compiler._get_cc_args(options, debug, extra_preargs)

            def make(made: str) -> None:
                source, extension = build[made]
                flags = [*postargs, *self.flags_of(source)]
                command = [*compiler.compiler_so_cxx, *options, source, *flags]
                if not self.force and not out_of_date(Path(made), command):
                    return
                written = ["-MMD", "-MF", str(Path(made).with_suffix(".d"))]
                compiler._compile(made, source, extension, options, [*flags, *written], options)
                Path(made).with_suffix(".command").write_text(shlex.join(command))

            for done in [pool.submit(make, made) for made in objects if made in build]:
                done.result()
            return list(objects)

        return compile_all
