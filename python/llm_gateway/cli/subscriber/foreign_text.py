"""Text that somebody else wrote, on a person's terminal."""


def shown(value: object) -> str:
    """Returns the value as text in which nothing moves the cursor, changes colours or hides what follows."""
    return "".join(character if character.isprintable() else "�" for character in str(value))
