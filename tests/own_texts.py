"""How much text of its own a model writes where a test does not say it: the recipe's 48 texts of 128 tokens take their time."""

from jaxpersona.calibration import generated_text, generated_text_streamed


def write_little():
    """8 texts of 24 tokens, from now on and in this process."""
    for write in (generated_text.write, generated_text_streamed.write):
        write.__defaults__ = (8, 24, *write.__defaults__[2:])
