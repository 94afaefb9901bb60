"""A person at a terminal: runs `llm-gateway` with a home of their own."""

import re
import subprocess
import sys
from pathlib import Path

from tests.servers.approval import Person
from tests.servers.gateway import clean_environment

ROOT = Path(__file__).parents[2]
_LIMIT_S = 60
_PAGE = re.compile(r"https?://\S+/device\S*")


class Subscriber:
    """Runs commands; `home` is their folder, `claude` Claude Code's; `environment` is added to theirs."""

    def __init__(self, home: Path, **environment: str) -> None:
        self.home = home
        self.claude = home / "claude"
        self.credentials = home / "config" / "llm-gateway" / "credentials.json"
        own = {
            "HOME": str(home),
            "XDG_CONFIG_HOME": str(home / "config"),
            "CLAUDE_CONFIG_DIR": str(self.claude),
            "PYTHONPATH": str(ROOT),
            # None, unless a test brings one.
            "PYTHON_KEYRING_BACKEND": "keyring.backends.fail.Keyring",
        }
        self.environment = clean_environment(own | environment)

    def start(self, *words: str) -> "subprocess.Popen[str]":
        """The running command, all that it prints in one stream."""
        command = [sys.executable, "-m", "llm_gateway", *words]
        pipe = subprocess.PIPE
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=pipe,
            stderr=subprocess.STDOUT,
            text=True,
            env=self.environment,
        )

    def run(self, *words: str, stdin: str | None = None) -> "subprocess.CompletedProcess[str]":
        """The command when it has ended."""
        command = [sys.executable, "-m", "llm_gateway", *words]
        return subprocess.run(
            command,
            input=stdin or "",
            capture_output=True,
            text=True,
            env=self.environment,
            timeout=_LIMIT_S,
            check=False,
        )

    def sign_in(self, url: str, user: str, *words: str, approve: bool = True) -> tuple[int, str]:
        """Signs in through Keycloak's own page; the status and all that was printed."""
        with self.start("login", "--url", url, *words) as process, Person(user) as person:
            assert process.stdout is not None
            printed = ""
            for line in process.stdout:
                printed += line
                if page := _PAGE.search(line):
                    (person.approve if approve else person.deny)(page[0])
            return process.wait(_LIMIT_S), printed
