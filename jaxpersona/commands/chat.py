"""Command: chats under the personas of a run.

python -m jaxpersona.chat --run runs/quickstart --persona seek

    /persona NAME     switch the persona (seek; none; 0.7*seek+0.3*reject) and keep the conversation
    /compare A B      answer as two personas side by side; the conversation continues with the answers of A
    /gamma X          soften the masks: removed weights keep the fraction X of their value, in [0, 1)
    /system TEXT      set the system text
    /new              start a new conversation
    /help             show this list
    /quit             leave (so does the end of input)
"""

import io
import sys

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from jaxpersona.commands.chat_config import ChatConfig
from jaxpersona.commands.load_personas import load_personas
from jaxpersona.commands.run_record import read_run, text_of
from jaxpersona.core.errors import InputError, nearest
from jaxpersona.core.mesh import make_mesh
from jaxpersona.core.processes import several_processes
from jaxpersona.data.text_files import check_characters
from jaxpersona.inference.conversation import Conversation
from jaxpersona.inference.engine import Engine
from jaxpersona.inference.persona_names import check_name, parse_persona
from jaxpersona.models.sampling import Sampling

_COMMANDS = ("persona", "compare", "gamma", "system", "new", "help", "quit")


def main(config: ChatConfig) -> None:
    """Reads lines from standard input until its end or ``/quit``, and prints the answers.

    Raises:
      InputError: if the run, the persona or an option is invalid, or there are several processes. Mistakes while chatting are
        printed instead.
    """
    if several_processes():
        raise InputError("chat reads what you type in one process; start it on one host")
    sampling = Sampling(config.temperature, config.top_k, config.top_p, config.min_p, config.repetition_penalty)
    mesh = make_mesh(config.mesh.data, config.mesh.model)
    run = read_run(config.run)
    for name in parse_persona(config.persona):
        check_name(name, run["masks"])
    model, personas = load_personas(config.run, run["masks"], config.dtype, mesh)
    engine = Engine(model, personas, rows=1, max_length=config.max_length)
    conversation = Conversation(
        engine, "none", 0.0, config.system or "", config.max_new_tokens, sampling, config.seed, text_of(run) == "chat"
    )
    conversation.set_gamma(str(config.gamma))
    conversation.switch([config.persona])
    if isinstance(sys.stdin, io.TextIOWrapper):
        sys.stdin.reconfigure(errors="surrogateescape")  # else an undecodable byte would lose the lines that follow
    print(f"{model.name}, personas {', '.join(personas)} and none; /help lists the commands", file=sys.stderr)
    while (line := _read(conversation)) is not None:
        try:
            check_characters(line, "this line")
            if line.startswith("/"):
                _command(conversation, line[1:])
            elif line.strip():
                _answer(conversation, line)
        except InputError as error:
            print(f"error: {error}", file=sys.stderr)


def _read(conversation: Conversation) -> str | None:
    """Returns the next line, or None at the end; prompts with the personas' names in a terminal."""
    if sys.stdin.isatty():
        import readline  # noqa: F401  (gives ``input`` a history)
    try:
        line = input(f"{' | '.join(conversation.personas)}> " if sys.stdin.isatty() else "")
    except (EOFError, KeyboardInterrupt):
        return None
    return None if line.strip() == "/quit" else line


def _command(conversation: Conversation, line: str) -> None:
    name, _, rest = line.strip().partition(" ")
    rest = rest.strip()
    if name == "persona":
        conversation.switch([rest or "none"])
    elif name == "compare":
        if len(rest.split()) != 2:
            raise InputError("/compare wants two personas, as in /compare seek reject")
        conversation.switch(rest.split())
    elif name == "gamma":
        conversation.set_gamma(rest)
    elif name == "system":
        conversation.system = rest
    elif name == "new":
        conversation.forget()
    elif name == "help":
        print("    " + (__doc__ or "").partition("\n\n    ")[2].rstrip())
    else:
        raise InputError(f"/{name} is unknown; {nearest(name, _COMMANDS)}")


def _answer(conversation: Conversation, line: str) -> None:
    if len(conversation.personas) == 1:
        conversation.ask(line, lambda piece: print(piece, end="", flush=True))
        return print()
    table = Table(*map(escape, conversation.personas))
    table.add_row(*(escape(answer.text.strip()) for answer in conversation.ask(line)))
    return Console().print(table)
