"""What every model of a configuration file shares."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Model(BaseModel):
    """Unknown keys are errors, values do not change, and no error repeats what was written."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        coerce_numbers_to_str=True,  # an id of digits alone; the loader keeps such numbers exact
        hide_input_in_errors=True,
        use_attribute_docstrings=True,
    )
