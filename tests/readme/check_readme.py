#!/usr/bin/env python3
"""Holds the README to its word: C++ is compiled and run, printed output compared, commands and links looked up.

    check_readme.py BUILD [MODEL ENCODER]

BUILD is a finished build folder; MODEL, or ENCODER where they use one, is what programs get as their argument ("-": none).

A ```cpp block is a whole program. A ```text block right after it is what the program prints. A program that wants a
model (it reads argv[1]) is compiled always and run where it is given. ```sh blocks name commands that must exist.
So do commands in the other pages, and links to files lead to files, here and there.
"""

import functools
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


@functools.cache
def output(*command):
    """What a command prints, or None where it fails."""
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    return ran.stdout if ran.returncode == 0 else None


def options_among(words):
    return [word.partition("=")[0] for word in words if re.match(r"--?[a-z]", word)]


def names_among(words):
    """Words that are meant literally: NAME and the like stand for others."""
    return [word for word in words if re.fullmatch(r"[a-z][\w.-]*", word)]


def fault_of_bench(name, options):
    """A bench's options are looked up in its source, because its --help may want packages."""
    files = [file for file in ROOT.glob(f"bench/{name}*") if file.stem == name]
    if not files:
        return f"./dev bench has no '{name}'"
    files += [file for folder in files for file in folder.glob("*.py")] + [ROOT / "bench/_common.py"]
    source = "".join(file.read_text(encoding="utf-8") for file in files if file.is_file())
    return next((f"./dev bench {name} has no option {option}" for option in options if f'"{option}"' not in source), None)


def fault_of_dev(words):
    """What is wrong with `./dev words...`, or None."""
    known = re.findall(r"^  ([a-z]+) ", output("./dev", "help"), re.M)
    if words[0] not in known:
        return f"./dev has no command '{words[0]}'"
    names = names_among(words[1:])
    if words[0] == "bench":
        return fault_of_bench(names[0], options_among(words)) if names else None
    models = (ROOT / "cmake/dev/models.sh").read_text(encoding="utf-8")
    if words[0] == "model":
        return next((f"./dev model knows no '{name}'" for name in names if f"    {name})" not in models), None)
    allowed = {"test": "--all", "oracle": "--tokenizers"}.get(words[0])
    return next((f"./dev {words[0]} does not take '{word}'" for word in words[1:] if word != allowed), None)


def help_of(program, names):
    """What `fathom names... --help` prints, or None where there is no such verb: an unknown one gets the general help."""
    shown = output(program, *names, "--help")
    return shown if shown and (not names or f"fathom {' '.join(names)} [" in shown) else None


def fault_of_fathom(program, words):
    """What is wrong with `fathom words...`, or None: the verb, of one word or two, and its options are those of its --help."""
    one, two = names_among(words[:1]), names_among(words[:2])
    shown = help_of(program, two) or help_of(program, one)
    if shown is None:
        return f"fathom has no verb '{one[0]}'"
    known = re.findall(r"(?<![\w-])--?[a-z][\w-]*", shown)
    return next((f"fathom {' '.join(one)} has no option {o}" for o in options_among(words) if o not in known), None)


def check_command(line_text, where, build):
    """A command of the project must know its verb and every option given to it."""
    try:
        words = shlex.split(line_text, comments=True)
    except ValueError as error:
        return fail(f"{where}: '{line_text}' is not a shell line: {error}")
    if not words:
        return None
    if words[0] == "./dev":
        fault = fault_of_dev(words[1:])
    elif words[0] == "fathom" or words[0].endswith("/fathom"):
        fault = fault_of_fathom(f"{build}/fathom", words[1:])
    elif subprocess.run(["bash", "-c", f"type {shlex.quote(words[0])}"], cwd=ROOT, capture_output=True).returncode != 0:
        fault = f"no command '{words[0]}'"
    else:
        fault = None
    return fail(f"{where}: {fault}") if fault else print(f"ok    {where}: {line_text}")


def check_page(page, build):
    """Links to files must lead somewhere, and commands in `code` or on lines of their own must be real ones."""
    text = page.read_text(encoding="utf-8")
    name = page.relative_to(ROOT)
    for match in re.finditer(r"\]\(([^)\s]+)\)", text):
        target = match[1].partition("#")[0]
        if target and "://" not in target and not (page.parent / target).exists():
            fail(f"{name}:{text.count(chr(10), 0, match.start()) + 1}: the link to {target} leads nowhere")
    for match in re.finditer(r"`((?:\./dev|fathom) [^`]*)`|^    (\./dev [^\n]*)$", text, re.M):
        check_command(match[1] or match[2], f"{name}:{text.count(chr(10), 0, match.start()) + 1}", build)


def main(build, model="-", encoder="-"):
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    build = pathlib.Path(build).resolve()
    work = build / "readme"
    work.mkdir(parents=True, exist_ok=True)
    flags = compiler_flags(build, work)
    found = list(blocks(text))
    programs = 0
    for i, (language, body, line) in enumerate(found):
        if language == "cpp":
            expected = found[i + 1][1] if i + 1 < len(found) and found[i + 1][0] == "text" else None
            argument = encoder if "fathom::Encoder" in body else model
            check_program(body, expected, line, flags, work.resolve(), None if argument == "-" else argument)
            programs += 1
        elif language == "sh":
            for n, line_text in enumerate(body.replace("\\\n", " ").splitlines()):
                check_command(line_text, f"README.md:{line + n + 1}", build)
    for page in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(ROOT.glob("docs/**/*.md"))]:
        check_page(page, build)
    if programs == 0:
        fail("README.md has no C++ program")
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main(*sys.argv[1:4])
