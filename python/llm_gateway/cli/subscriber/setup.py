"""`llm-gateway setup`: has programs use the gateway."""

import re
from pathlib import Path

from llm_gateway.cli import console
from llm_gateway.cli.subscriber import change, claude_settings

_BEGIN, _END = "# >>> llm-gateway >>>", "# <<< llm-gateway <<<"
_OURS = re.compile(rf"(?ms)^{re.escape(_BEGIN)}$.*?^{re.escape(_END)}$\n?")


def claude_code(folder: Path, url: str, *, by_helper: bool, undo: bool, yes: bool) -> bool:
    """Sets Claude Code up, or takes that back; returns whether it is as asked then. Raises: ProblemError."""
    path = folder / claude_settings.FILE
    before = change.read(path)
    if undo:
        return change.make(path, before, claude_settings.taken_back(before, url), yes=yes)
    after = (claude_settings.by_helper if by_helper else claude_settings.by_sign_in)(before, url)
    made = change.make(path, before, after, yes=yes)
    if made:
        first = f"if you are not signed in yet, `llm-gateway login --url {url}`; then " if by_helper else ""
        console.say(f"  now {first}start `claude`{'' if by_helper else ' and type /login'}")
    return made


def openai(url: str, file: Path | None, *, undo: bool, yes: bool) -> bool:
    """Prints the lines for the shell by which OpenAI clients use the gateway, or puts them into `file`.

    Returns whether it is as asked then. Raises: ProblemError.
    """
    lines = [
        "# The token ends after some minutes; for what runs longer, take a personal key.",
        f'export OPENAI_BASE_URL="{url}/v1"',
        f'export OPENAI_API_KEY="$(llm-gateway token --url {url})"',
    ]
    if file is None:
        for line in lines:
            console.say(console.to_paste(line))
        return True
    before = change.read(file)
    rest = _OURS.sub("", before)
    if undo:
        return change.make(file, before, rest, yes=yes)
    block = "\n".join((_BEGIN, *lines, _END)) + "\n"
    if _OURS.search(before):
        after = _OURS.sub(lambda _: block, before, count=1)
    else:
        after = rest + ("" if not rest or rest.endswith("\n") else "\n") + block
    return change.make(file, before, after, yes=yes)
