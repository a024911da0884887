"""What a scene shows has to be so: a difference ends the scene, and is told in both words."""


class Unexpected(Exception):
    """Something else was seen than the scene is there to show."""

    def __init__(self, *, expected: str, seen: str) -> None:
        super().__init__(f"expected {expected}, saw {seen}")
        self.expected = expected
        self.seen = seen


def expect(held: bool, *, expected: str, seen: object) -> None:
    """Go on if it held. Raises `Unexpected`."""
    if not held:
        raise Unexpected(expected=expected, seen=str(seen))


def expect_equal(expected: object, seen: object) -> None:
    """Go on if both are equal. Raises `Unexpected`."""
    expect(seen == expected, expected=str(expected), seen=seen)
