"""What a system reads from the environment beside the layer's variables.

    class ShopSettings(SystemSettings):
        model_config = settings_config("SHOP_")
        currency: str = Field("EUR", description="…")

    ShopSettings.load().currency        # SHOP_CURRENCY, from the process or a `.env` sought upward

The layer's own `Settings` are read by the layer. A wrong variable is one line that names it, and
never its value.
"""

from typing import Any, ClassVar, Self

from pydantic import ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from bedplate.environment import read_environment
from bedplate.errors import SettingsError


def settings_config(prefix: str) -> SettingsConfigDict:
    """The `model_config` of settings whose variables begin with `prefix`."""
    return SettingsConfigDict(
        env_prefix=prefix,
        extra="ignore",
        frozen=True,
        env_ignore_empty=True,
        hide_input_in_errors=True,
    )


class SystemSettings(BaseSettings):
    """Settings that `load` reads; each field is the variable of its name, after the prefix."""

    model_config = settings_config("")

    # What the error of a wrong variable says to do.
    hint: ClassVar[str] = "Every variable stands in .env.example."

    @classmethod
    def variable(cls, field: str) -> str:
        """The variable that a field is read from."""
        return str(cls.model_config.get("env_prefix", "")) + field.upper()

    @classmethod
    def variables(cls) -> frozenset[str]:
        """All that are read."""
        return frozenset(map(cls.variable, cls.model_fields))

    @classmethod
    def load(cls) -> Self:
        """Read and check the variables. Raises `SettingsError` naming the first that is wrong."""
        found = read_environment()
        given: dict[str, Any] = {
            field: found[cls.variable(field)]
            for field in cls.model_fields
            if cls.variable(field) in found
        }
        try:
            return cls(**given)
        except ValidationError as error:
            raise cls._refusal(error) from None

    @classmethod
    def _refusal(cls, error: ValidationError) -> SettingsError:
        first = error.errors(include_input=False, include_url=False)[0]
        why = first["msg"].removeprefix("Value error, ")
        if not first["loc"]:
            # A rule about several variables names them itself.
            return SettingsError(why, hint=cls.hint)
        variable = cls.variable(str(first["loc"][0]))
        return SettingsError(f"{variable}: {why}", hint=cls.hint, variable=variable)
