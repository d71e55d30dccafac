"""The agent of a machine, with shorter pauses between its looks: nobody pays for them here."""

from __future__ import annotations

import sys

from dth.compose.aws import agent
from dth.objects.transfer import worker

agent.LOOK = 0.5
agent.READ = 1.0
agent.IDLE = 4.0
worker.HEARTBEAT = 1.0
worker.WAIT = 2.0
agent.COMMAND = (sys.executable, "-m", "tests.aws.emulator.quick")

if __name__ == "__main__":
    sys.exit(agent.main(sys.argv[1:]))
