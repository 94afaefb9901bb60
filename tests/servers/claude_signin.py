"""Claude Code as it signs in to a gateway by itself, with a folder and a terminal of its own.

Source: Claude Code 2.1.330, as seen; what it asks on its screens may change with any release.
"""

import json
import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.servers.claude_code import BINARY
from tests.servers.terminal import ENTER, UP, Terminal
from tests.servers.waiting import eventually

# What it asks before it goes on; the question is put back with `accept`.
_QUESTIONS = ("url_input", "trust_prompt", "confirm_account")
_LIMIT_S = 60

# Below the line for prompts, whatever the mode is.
READY = "mode on"


class ClaudeHome:
    """A person's Claude Code, told to sign in at `gateway_url`."""

    def __init__(self, folder: Path, gateway_url: str) -> None:
        self._config, self._work = folder / "config", folder / "work"
        self._opened = folder / "opened"
        for made in (self._config / "home", self._work):
            made.mkdir(parents=True)
        self._write("settings.json", {"forceLoginMethod": "gateway", "forceLoginGatewayUrl": gateway_url})
        projects = {str(self._work): {"hasTrustDialogAccepted": True}}
        self._write(".claude.json", {"hasCompletedOnboarding": True, "theme": "dark", "projects": projects})
        browser = folder / "browser"
        browser.write_text(f'#!/bin/sh\necho "$1" >> {self._opened}\n')
        browser.chmod(0o755)
        self._environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(self._config / "home"),
            "CLAUDE_CONFIG_DIR": str(self._config),
            "LANG": "C.UTF-8",
            "TERM": "xterm-256color",
            "DISABLE_AUTOUPDATER": "1",
            "BROWSER": str(browser),
        }

    def terminal(self) -> Terminal:
        """An interactive session."""
        return Terminal([str(BINARY)], self._environment, self._work)

    def page_opened(self) -> str:
        """The page that it has opened in the browser, once it has."""
        eventually(lambda: self._opened.exists() and self._opened.read_text().strip() != "", "opened", 30)
        return self._opened.read_text().split()[-1]

    def sign_in(self, answer: Callable[[str], Any]) -> dict[str, Any]:
        """Signs in without a terminal, by the way that editors use; `answer` gets the page for the browser.

        Returns the last thing said: `done`, or `error` with a message.
        """
        command = [str(BINARY), "auth", "login", "--gateway-json"]
        pipe = subprocess.PIPE
        with subprocess.Popen(
            command, cwd=self._work, env=self._environment, stdin=pipe, stdout=pipe, stderr=pipe, text=True
        ) as process:
            assert process.stdout is not None
            assert process.stdin is not None
            said: dict[str, Any] = {}
            for line in process.stdout:
                said = json.loads(line)
                state = said["state"]
                if state in _QUESTIONS:
                    accepted = {"state": state, "shown": said["shown"], "accept": True}
                    process.stdin.write(json.dumps(accepted) + "\n")
                    process.stdin.flush()
                elif state == "polling":
                    answer(said["browserUrl"])
            return said

    def ask(self, prompt: str) -> dict[str, Any]:
        """What a prompt without a terminal gave: the closing `result`, with the exit status as `status`."""
        ran = self.run("-p", prompt, "--output-format", "json")
        try:
            found = json.loads(ran.stdout)
        except ValueError:
            found = {"result": ran.stdout + ran.stderr}
        return {**found, "status": ran.returncode}

    def run(self, *words: str) -> "subprocess.CompletedProcess[str]":
        """One command of the client."""
        return subprocess.run(
            [BINARY, *words],
            cwd=self._work,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_LIMIT_S,
            check=False,
        )

    def credential(self) -> dict[str, Any]:
        """What it keeps of the sign-in: `jwt`, `idpRefreshToken`, `expiresAt` and so on; empty if nothing."""
        try:
            kept = json.loads((self._config / ".credentials.json").read_text())
        except FileNotFoundError:
            return {}
        return dict(kept.get("enterpriseGateway", {}))

    def managed_settings(self) -> dict[str, Any]:
        """The settings that it has got from the gateway."""
        return dict(json.loads((self._config / "remote-settings.json").read_text()))

    def _write(self, name: str, value: Any) -> None:
        (self._config / name).write_text(json.dumps(value))


def sign_in_on_screen(terminal: Terminal, home: ClaudeHome, approve: Callable[[str], Any]) -> str:
    """Goes through `/login` as a person does; returns the screen that names the account."""
    terminal.wait_for("\u276f")
    _enter(terminal, "/login")
    terminal.wait_for("Enter to connect")
    terminal.type(ENTER)
    terminal.wait_for("\u276f No, cancel login")
    terminal.type(UP)
    terminal.wait_for("\u276f Yes, trust this gateway")
    terminal.type(ENTER)
    approve(home.page_opened())
    terminal.wait_for("\u276f No, cancel login")
    terminal.type(UP)
    account = terminal.wait_for("\u276f Yes, continue")
    terminal.type(ENTER)
    terminal.wait_for("Connected to Cloud gateway")
    terminal.type(ENTER)
    terminal.wait_for(READY)
    return account


def say(terminal: Terminal, text: str) -> None:
    """Types a prompt or a command, and sends it when it is on the screen."""
    _enter(terminal, text)


def _enter(terminal: Terminal, text: str) -> None:
    terminal.type(text)
    terminal.wait_for(f"\u276f\\s*{re.escape(text)}")
    terminal.type(ENTER)
