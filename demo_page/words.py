"""Text on the page: everything that did not stand in this code is escaped."""

import functools
from collections.abc import Callable
from html import escape

import gradio as gr

from common.errors import RunError, UsageError
from demo_page.door import Door


def introduce(text: str, network: str) -> None:
    """Says what to do on a tab, and which network answers."""
    gr.HTML(f"<p>{escape(text)}</p><p class='network'>Network: {escape(network)}.</p>")


def place_for_sentence(text: str, elem_id: str) -> gr.HTML:
    """Makes the place of the sentence that a handler ends with."""
    return gr.HTML(sentence(text), elem_id=elem_id)


def sentence(text: str) -> str:
    """Returns a sentence as HTML that screen readers speak."""
    return f"<p class='sentence' role='status'>{escape(text)}</p>" if text else ""


def mistake(text: str) -> str:
    """Returns the sentence about a mistake as HTML."""
    return f"<p class='sentence error' role='alert'>{escape(text)}</p>"


def in_place(door: Door, handler: Callable, on_mistake: tuple) -> Callable:
    """Wraps a handler whose last output is a sentence; a mistake becomes that sentence.

    Args:
        on_mistake: its other outputs then.
    """

    @functools.wraps(handler)
    def wrapped(*inputs: object) -> object:
        try:
            return handler(*inputs)
        except (RunError, UsageError) as error:
            return *on_mistake, mistake(door.hide_paths(str(error)))

    return wrapped
