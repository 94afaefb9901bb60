"""The ledger stays exact while everything around it fails: `make ledger`, for a minute."""

import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(__file__).resolve().parents[2] / "benches" / "load" / "ledger_campaign.py"
SECONDS, SEED = 60, 20261123
# Servers start, journals empty themselves, every lease's time passes: the campaign bounds each of these.
LONGEST_S = SECONDS + 150


@pytest.mark.load
@pytest.mark.requires("redis-server")
@pytest.mark.timeout(LONGEST_S + 30)
def test_no_unit_is_lost_doubled_or_leaked_whatever_fails() -> None:
    command = [sys.executable, str(PROGRAM), "--seconds", str(SECONDS), "--seed", str(SEED)]
    campaign = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        shown, _ = campaign.communicate(timeout=LONGEST_S)
    finally:
        # It ends its servers by itself, as it does after any other end.
        campaign.terminate()
        campaign.wait(30)
    assert campaign.returncode == 0, f"exit status {campaign.returncode}\n{shown}"
    assert "the ledger is exact" in shown
