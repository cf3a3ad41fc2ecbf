"""One running git whose input and output are streamed. Called by smart_http; ends its whole process group
when the block is left."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Sequence

from runyard.model.errors import Invalid, Unavailable
from runyard.sources.process import ENVIRONMENT, SAFE, kill_group

CHUNK_BYTES = 64 << 10
TIME_S = 3600.0
# A delta bomb makes index-pack allocate what the deltas claim (reliability.md §5 G11); git itself has no such
# limit.
ADDRESS_SPACE_BYTES = 8 << 30


class GitStream:
    """An asynchronous git process."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._deadline = asyncio.get_running_loop().call_later(TIME_S, self.kill)

    @classmethod
    async def start(cls, settings: Sequence[str], command: Sequence[str], version: str) -> GitStream:
        """Starts `git <settings> <command>`; `version` is the client's Git-Protocol."""
        argv = ["git", *SAFE, "-c", "core.packedGitLimit=1g"]
        for setting in settings:
            argv += ["-c", setting]
        if limiter := shutil.which("prlimit"):
            argv = [limiter, f"--as={ADDRESS_SPACE_BYTES}", "--", *argv]
        environment = {**ENVIRONMENT, **({"GIT_PROTOCOL": version} if version else {})}
        try:
            process = await asyncio.create_subprocess_exec(
                *argv, *command,
                stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
                env=environment, cwd="/", start_new_session=True,
            )  # fmt: skip
        except FileNotFoundError:
            raise Unavailable("git is not installed") from None
        return cls(process)

    async def __aenter__(self) -> GitStream:
        return self

    async def __aexit__(self, *_: object) -> None:
        self._deadline.cancel()
        if self._process.returncode is None:
            try:
                await asyncio.wait_for(self._process.wait(), 1.0 if self._ended() else 0.01)
            except TimeoutError:
                self.kill()
                await self._process.wait()

    def _ended(self) -> bool:
        return self._process.stdout is not None and self._process.stdout.at_eof()

    def kill(self) -> None:
        """Ends git and whatever it started."""
        if self._process.returncode is None:
            kill_group(self._process.pid)

    def close_input(self) -> None:
        """Nothing more comes."""
        if self._process.stdin is not None:
            self._process.stdin.close()

    async def write_all(self, chunks: AsyncIterator[bytes]) -> None:
        """Feeds git until the chunks end or git stops reading (it answers why by itself)."""
        pipe = self._process.stdin
        if pipe is None:
            raise Invalid
        try:
            async for chunk in chunks:
                pipe.write(chunk)
                await pipe.drain()
            pipe.close()
            await pipe.wait_closed()
        except (BrokenPipeError, ConnectionResetError):
            async for _ in chunks:
                pass
        except BaseException:
            self.kill()
            raise

    async def chunks(self) -> AsyncIterator[bytes]:
        """What git writes."""
        pipe = self._process.stdout
        while pipe is not None and (chunk := await pipe.read(CHUNK_BYTES)):
            yield chunk

    async def read_all(self, limit_bytes: int) -> bytes:
        """Everything git writes, up to a limit."""
        kept = bytearray()
        async for chunk in self.chunks():
            if len(kept) + len(chunk) <= limit_bytes:
                kept += chunk
        return bytes(kept)
