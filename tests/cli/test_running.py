"""The loop that commands run on."""

from wdasync.cli.running import run


class Large:
    """A result that takes long to be shown."""

    shown = False

    def __repr__(self) -> str:
        self.shown = True
        return "large"


def test_nobody_shows_the_result() -> None:
    """As asyncio does, when it puts the handler of SIGINT back, with that of the main task."""
    result = Large()

    async def main() -> list[Large]:
        return [result]

    assert run(main) == [result]
    assert not result.shown
