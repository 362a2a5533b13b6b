"""The Hub that `kills.py` pushes to: a fake one in a process of its own, which can kill who pushes."""

import hashlib
import json
import os
import signal
from typing import Any


class Hub:
    """A Hub on this machine, in a process of its own.

    `ask` takes "reset" (forget everything), "files" (repository and name -> SHA-256 of all that it shows),
    "events" (what it was asked since) and "kill PID N" (kill that process group at event N: when a request
    comes, and when it is carried out and not answered yet).
    """

    def __init__(self) -> None:
        (questions, self._ask), (self._answers, answers) = os.pipe(), os.pipe()
        self.child = os.fork()
        if not self.child:
            os.close(self._ask)
            _serve(questions, answers)
        os.close(questions)
        os.close(answers)  # so that a Hub that is gone is noticed
        self._reader = os.fdopen(self._answers, "r")
        self.url = json.loads(self._reader.readline())

    def ask(self, what: str) -> Any:
        """Ask, and wait for the answer."""
        os.write(self._ask, f"{what}\n".encode())
        return json.loads(self._reader.readline())

    def close(self) -> None:
        """End its process."""
        os.close(self._ask)
        self._reader.close()
        os.waitpid(self.child, 0)


def _serve(questions: int, answers: int) -> None:
    """The process of the Hub: one answer in JSON for each question."""
    from tests.made_up.hub import Answer, FakeHub, Request

    class KillingHub(FakeHub):
        """Notes what happens, and ends a process group at the chosen event."""

        events: list[str]
        victim: tuple[int, int]

        def answer(self, request: Request) -> Answer:
            with self._lock:
                self._happens(f"{request.method} {request.path}")
                answer = super().answer(request)
                self._happens(f"the answer to {request.method} {request.path}")
            return answer

        def _happens(self, event: str) -> None:
            self.events.append(event)
            if len(self.events) == self.victim[1]:
                os.killpg(self.victim[0], signal.SIGKILL)

        def reset(self) -> None:
            for held in (self.repositories, self.models, self.blobs):
                held.clear()
            self.events, self.victim = [], (0, 0)

    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # connections that end are what this is about
    with KillingHub() as hub, os.fdopen(questions, "r") as lines:
        hub.reset()
        os.write(answers, f"{json.dumps(hub.url)}\n".encode())
        for line in lines:
            what, *rest = line.split()
            if what == "reset":
                hub.reset()
            elif what == "kill":
                hub.events, hub.victim = [], (int(rest[0]), int(rest[1]))
            shown = hub.events if what == "events" else _files({**hub.repositories, **hub.models})
            os.write(answers, f"{json.dumps(shown)}\n".encode())
    os._exit(0)


def _files(repositories: dict[str, Any]) -> dict[str, str]:
    return {
        f"{repository}/{name}": hashlib.sha256(data).hexdigest()
        for repository, held in repositories.items()
        for name, data in held.files.items()
    }
