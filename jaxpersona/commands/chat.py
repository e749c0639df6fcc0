"""Command: talks with the personas of a run.

python -m jaxpersona.chat --run runs/quickstart --persona seek

    /persona NAME     let another answer (none; 0.7*seek+0.3*reject); the conversation goes on
    /compare A B      let two answer side by side; what A says is remembered
    /gamma X          soften the masks: removed weights keep X of their strength
    /system TEXT      another system text
    /new              forget the conversation
    /help             this list
    /quit             or end of input
"""

import sys

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from jaxpersona.commands.chat_config import ChatConfig
from jaxpersona.commands.load_personas import load_personas
from jaxpersona.commands.run_folder import read_run
from jaxpersona.core.errors import InputError, nearest
from jaxpersona.core.mesh import make_mesh
from jaxpersona.core.processes import several_processes
from jaxpersona.inference.conversation import Conversation
from jaxpersona.inference.engine import Engine
from jaxpersona.models.sampling import Sampling

_COMMANDS = ("persona", "compare", "gamma", "system", "new", "help", "quit")


def main(config: ChatConfig) -> None:
    """Reads lines from standard input and prints answers until there are no more."""
    if several_processes():
        raise InputError("chat reads what you type in one process; start it on one host")
    drawn = Sampling(config.temperature, config.top_k, config.top_p, config.min_p, config.repetition_penalty)
    mesh = make_mesh(config.mesh.data, config.mesh.model)
    model, personas = load_personas(config.run, read_run(config.run)["masks"], config.dtype, mesh)
    engine = Engine(model, personas, rows=1, max_length=config.max_length)
    talk = Conversation(engine, "none", 0.0, config.system, config.max_new_tokens, drawn, config.seed)
    talk.set_gamma(str(config.gamma))
    talk.switch([config.persona])
    print(f"{model.name}, personas {', '.join(personas)} and none; /help lists the commands", file=sys.stderr)
    while (line := _read(talk)) is not None:
        try:
            if line.startswith("/"):
                _command(talk, line[1:])
            elif line.strip():
                _answer(talk, line)
        except InputError as error:
            print(f"error: {error}", file=sys.stderr)


def _read(talk: "Conversation") -> str | None:
    """The next line, or None at the end; typed lines are asked for with the persona's name."""
    if sys.stdin.isatty():
        import readline  # noqa: F401  (gives ``input`` a history)
    try:
        line = input(f"{' | '.join(talk.personas)}> " if sys.stdin.isatty() else "")
    except (EOFError, KeyboardInterrupt):
        return None
    return None if line.strip() == "/quit" else line


def _command(talk: "Conversation", line: str) -> None:
    name, _, rest = line.strip().partition(" ")
    rest = rest.strip()
    if name == "persona":
        talk.switch([rest or "none"])
    elif name == "compare":
        if len(rest.split()) != 2:
            raise InputError("/compare wants two personas, as in /compare seek reject")
        talk.switch(rest.split())
    elif name == "gamma":
        talk.set_gamma(rest)
    elif name == "system":
        talk.system = rest
    elif name == "new":
        talk.forget()
    elif name == "help":
        print("    " + (__doc__ or "").partition("\n\n    ")[2].rstrip())
    else:
        raise InputError(f"/{name} is unknown; {nearest(name, _COMMANDS)}")


def _answer(talk: "Conversation", line: str) -> None:
    if len(talk.personas) == 1:
        talk.ask(line, lambda piece: print(piece, end="", flush=True))
        return print()
    table = Table(*map(escape, talk.personas))
    table.add_row(*(escape(answer.text.strip()) for answer in talk.ask(line)))
    return Console().print(table)
