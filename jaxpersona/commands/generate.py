"""Command: answers prompts under one persona of a run, or under several side by side.

python -m jaxpersona.generate --run runs/quickstart --persona seek --prompt "How would you spend a bonus?"
python -m jaxpersona.generate --run runs/quickstart --persona [none,seek,reject] --prompts questions.txt --output answers.jsonl
"""

import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from jaxpersona.commands.generate_config import GenerateConfig
from jaxpersona.commands.load_personas import load_personas
from jaxpersona.commands.run_record import read_run, text_of
from jaxpersona.core import files
from jaxpersona.core.errors import InputError
from jaxpersona.core.mesh import make_mesh
from jaxpersona.core.processes import is_first
from jaxpersona.data.text_files import check_characters, numbered_lines, parse_json, read_utf8
from jaxpersona.inference.engine import Engine
from jaxpersona.inference.persona_names import parse_persona
from jaxpersona.inference.requests import Generation, Request
from jaxpersona.models.sampling import Sampling

_LENGTH_MULTIPLE = 64


def main(config: GenerateConfig) -> None:
    """Prints the answers, and writes them to ``config.output`` if that is set.

    Raises:
      InputError: if the run, a persona, a prompt or an option is invalid, or the output cannot be written.
    """
    names = [config.persona] if isinstance(config.persona, str) else config.persona
    shares = {name: parse_persona(name) for name in names}
    _refuse_repeated(names, shares)
    if config.output is not None:
        files.check_output_file(pathlib.Path(config.output).expanduser())
    chat = text_of(read_run(config.run)) == "chat" if config.chat is None else config.chat
    prompts = [config.prompt] if config.prompts is None else read_prompts(config.prompts)
    sampling = Sampling(config.temperature, config.top_k, config.top_p, config.min_p, config.repetition_penalty)
    common: dict[str, Any] = {"max_new_tokens": config.max_new_tokens, "sampling": sampling, "stop": config.stop}
    common |= {"seed": config.seed, "chat": chat, "system": config.system or ""}

    def request(prompt: str, name: str) -> Request:
        # Beside other personas the base model ignores gamma; alone it is an error, which ``Request`` raises.
        gamma = config.gamma if shares[name] or len(names) == 1 else 0.0
        return Request(prompt, shares[name] or None, gamma, **common)

    requests = [request(prompt, name) for prompt in prompts for name in names]
    mesh = make_mesh(config.mesh.data, config.mesh.model)
    model, personas = load_personas(config.run, [part for name in names for part in shares[name]], config.dtype, mesh)
    longest = max(len(one.ids(model.tokenizer)) for one in requests) + max(config.max_new_tokens, 1)
    length = -(-longest // _LENGTH_MULTIPLE) * _LENGTH_MULTIPLE  # rounded up, so that few shapes compile
    engine = Engine(model, personas, rows=min(config.batch, len(requests)), max_length=length, queue=len(requests))
    del model  # frees its parameters if the engine has a smaller copy
    answers = engine.generate(requests)
    for answer in answers:
        if answer.error is not None:
            raise answer.error
    _print(prompts, names, answers)
    if config.output is not None and is_first():
        _write(config.output, prompts, names, answers)


def _refuse_repeated(names: Sequence[str], shares: Mapping[str, Mapping[str, float]]) -> None:
    """Raises InputError if two names, however they are spelled, stand for one persona."""
    for number, name in enumerate(names):
        if shares[name] in [shares[earlier] for earlier in names[:number]]:
            raise InputError(f"persona {name.strip()!r} is given twice; its answers would be the same")


def read_prompts(path: str) -> list[str]:
    """Returns the prompts of a file: the key ``prompt`` of each line of a .jsonl file, or each non-blank line of a text file.

    Raises:
      InputError: if the file is missing, is not UTF-8 or of another kind, has no prompts, or has a line that is no such object.
    """
    where, kind = f"prompts {path}", pathlib.Path(path).suffix.lower()
    if kind in (".csv", ".json"):
        raise InputError(f"{where}: a {kind} file has no prompt a line; give a text file or a .jsonl file")
    lines = list(numbered_lines(read_utf8(path, "prompts")))
    if not lines:
        raise InputError(f"{where}: no prompts there; give at least one line")
    return [_prompt(line, f"{where}: line {number}") if kind == ".jsonl" else line for number, line in lines]


def _prompt(line: str, where: str) -> str:
    row = parse_json(line, where)
    prompt = row.get("prompt") if isinstance(row, dict) else None
    if not isinstance(prompt, str) or not prompt.strip():
        raise InputError(f'{where}: no text under the key prompt; write an object such as {{"prompt": "Who are you?"}}')
    check_characters(prompt, where)
    return prompt


def _print(prompts: Sequence[str], names: Sequence[str], answers: Sequence[Generation]) -> None:
    if len(names) == 1 and len(prompts) == 1:
        return print(answers[0].text)
    console = Console()
    for number, prompt in enumerate(prompts):
        table = Table(*map(escape, names), title=escape(prompt), title_justify="left", show_lines=False)
        table.add_row(*(escape(answer.text.strip()) for answer in answers[number * len(names) :][: len(names)]))
        console.print(table)
    return None


def _write(path: str, prompts: Sequence[str], names: Sequence[str], answers: Sequence[Generation]) -> None:
    requests = [(prompt, name) for prompt in prompts for name in names]
    lines = []
    for (prompt, name), answer in zip(requests, answers, strict=True):
        row = {"prompt": prompt, "persona": name, "gamma": answer.request.gamma, "text": answer.text}
        lines.append(json.dumps({**row, "tokens": len(answer.ids), "finish": answer.finish}, ensure_ascii=False))
    file = pathlib.Path(path).expanduser()
    file.parent.mkdir(parents=True, exist_ok=True)
    files.write_atomically(file, "\n".join(lines) + "\n")
