"""What a tool says when it will not do what was asked: a code for programs and a sentence that a model can act on."""


class ToolError(Exception):
    """A tool refused. `code` is stable; `message` says what happened and what to do, and is safe to show to a model."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message

    def as_output(self) -> dict[str, dict[str, str]]:
        """The JSON that an agent hands to the model as the tool's output."""
        return {"error": {"code": self.code, "message": self.message}}
