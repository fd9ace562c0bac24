#!/usr/bin/env python3
"""Holds the README to its word: its C++ is compiled and run, its printed output compared, its commands looked up.

    check_readme.py BUILD [MODEL]      BUILD: a finished build folder; MODEL: what programs get as their argument

A ```cpp block is a whole program. A ```text block right after it is what the program prints. A program that wants a
model (it reads argv[1]) is compiled always and run where MODEL is given. ```sh blocks name commands that must exist.
"""

import pathlib
import re
import shlex
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
failures = []


def fail(what):
    failures.append(what)
    print(f"FAIL  {what}")


def blocks(text):
    """(language, body, line) of each fenced block."""
    for match in re.finditer(r"^```(\w*)\n(.*?)^```$", text, re.M | re.S):
        yield match[1], match[2], text.count("\n", 0, match.start()) + 1


def compiler_flags(build, work):
    """The flags a user gets from pkg-config for an installed Fathom."""
    prefix = work / "prefix"
    subprocess.run(["cmake", "--install", build, "--prefix", prefix], check=True, stdout=subprocess.DEVNULL)
    config = next(prefix.rglob("fathom.pc")).parent
    out = subprocess.run(
        ["pkg-config", f"--with-path={config}", "--cflags", "--libs", "fathom"], check=True, capture_output=True, text=True
    )
    return out.stdout.split()


def check_program(source, expected, line, flags, work, model):
    where = f"README.md:{line}"
    program = work / f"line{line}"
    program.with_suffix(".cc").write_text(source, encoding="utf-8")
    command = ["c++", "-std=c++20", "-O1", "-Wall", "-Wextra", "-Werror", f"{program}.cc", "-o", program, *flags]
    compiled = subprocess.run(command, capture_output=True, text=True)
    if compiled.returncode != 0:
        return fail(f"{where}: the program does not compile\n{compiled.stderr}")
    if "argv[1]" in source and model is None:
        return print(f"skip  {where}: compiled, not run: no model here")
    ran = subprocess.run([program] + ([model] if "argv[1]" in source else []), capture_output=True, text=True, timeout=120)
    if ran.returncode != 0:
        return fail(f"{where}: exit code {ran.returncode}: {ran.stderr.strip()}")
    if expected is not None and ran.stdout.strip() != expected.strip():
        return fail(f"{where}: it prints\n{ran.stdout}\nand the README says\n{expected}")
    print(f"ok    {where}: compiled, run" + ("" if expected is None else ", output as printed"))


def check_command(line_text, where):
    """A command of the project must know the verb and every option given to it."""
    try:
        words = shlex.split(line_text, comments=True)
    except ValueError as error:
        return fail(f"{where}: '{line_text}' is not a shell line: {error}")
    if not words:
        return None
    if words[0] == "./dev":
        known = re.findall(r"^  (\w+)", subprocess.run(["./dev", "help"], cwd=ROOT, capture_output=True, text=True).stdout, re.M)
        if words[1] not in known:
            return fail(f"{where}: ./dev has no command '{words[1]}'")
    elif words[0].endswith("/fathom"):
        shown = subprocess.run([ROOT / words[0], words[1], "--help"], capture_output=True, text=True)
        if shown.returncode != 0:
            return fail(f"{where}: fathom has no verb '{words[1]}'")
        options = re.findall(r"(?<![\w-])--?[a-z][\w-]*", shown.stdout)
        for word in words[2:]:
            if re.fullmatch(r"--?[a-z][\w-]*", word) and word not in options:
                return fail(f"{where}: fathom {words[1]} has no option {word}")
    elif subprocess.run(["bash", "-c", f"type {shlex.quote(words[0])}"], cwd=ROOT, capture_output=True).returncode != 0:
        return fail(f"{where}: no command '{words[0]}'")
    return print(f"ok    {where}: {line_text}")


def main(build, model=None):
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    work = pathlib.Path(build) / "readme"
    work.mkdir(parents=True, exist_ok=True)
    flags = compiler_flags(build, work)
    found = list(blocks(text))
    programs = 0
    for i, (language, body, line) in enumerate(found):
        if language == "cpp":
            expected = found[i + 1][1] if i + 1 < len(found) and found[i + 1][0] == "text" else None
            check_program(body, expected, line, flags, work.resolve(), model)
            programs += 1
        elif language == "sh":
            for n, line_text in enumerate(body.replace("\\\n", " ").splitlines()):
                check_command(line_text, f"README.md:{line + n + 1}")
    if programs == 0:
        fail("README.md has no C++ program")
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main(*sys.argv[1:3])
