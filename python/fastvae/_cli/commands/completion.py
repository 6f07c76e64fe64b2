"""``fastvae completion``: scripts for shells, generated from the parser."""

from __future__ import annotations

import argparse
from typing import Any

from fastvae._cli.write import files

USAGE = "fastvae completion bash|zsh|fish"
EPILOG = """\
examples:
  source <(fastvae completion bash)                              # in ~/.bashrc
  fastvae completion zsh > "${fpath[1]}/_fastvae"
  fastvae completion fish > ~/.config/fish/completions/fastvae.fish
"""


def add(parser: Any) -> None:
    """Add the options."""
    parser.add_argument("shell", choices=["bash", "zsh", "fish"], help="the shell")


def run(options: Any) -> int:
    """Print a script."""
    from fastvae._cli.parser import COMMANDS, build

    _, commands = build(None)
    script = {"bash": _bash, "zsh": _zsh, "fish": _fish}[options.shell]
    files.print_text(script(COMMANDS, commands))
    return 0


def _choices(action: argparse.Action) -> list[str]:
    if action.choices is not None:
        return list(map(str, action.choices))
    metavar = action.metavar if isinstance(action.metavar, str) else ""
    return metavar.split("|") if "|" in metavar else []


def _takes_value(action: argparse.Action) -> bool:
    return action.nargs != 0


def _bash(texts: dict[str, str], commands: dict[str, Any]) -> str:
    cases, values = [], []
    for name, parser in commands.items():
        words = [flag for action in parser.flags() for flag in action.option_strings]
        words += [choice for action in parser.positionals() for choice in _choices(action)]
        cases.append(f"    {name}) words='{' '.join(words)}' ;;")
        for action in parser.flags():
            if _choices(action):
                flags = "|".join(f"{name}:{flag}" for flag in action.option_strings)
                values.append(
                    f"    {flags}) COMPREPLY=($(compgen -W '{' '.join(_choices(action))}' -- \"$cur\")); return ;;"
                )
    with_values = sorted(
        {
            flag
            for parser in commands.values()
            for action in parser.flags()
            if _takes_value(action)
            for flag in action.option_strings
        }
    )
    newline = "\n"
    return f"""\
# bash completion of fastvae: source <(fastvae completion bash)
_fastvae() {{
  local cur="${{COMP_WORDS[COMP_CWORD]}}" prev="${{COMP_WORDS[COMP_CWORD-1]}}" words=''
  COMPREPLY=()
  if [ "$COMP_CWORD" -eq 1 ]; then
    COMPREPLY=($(compgen -W '{" ".join(texts)} --help --version' -- "$cur"))
    return
  fi
  case "${{COMP_WORDS[1]}}:$prev" in
{newline.join(values)}
  esac
  case "$prev" in
    {"|".join(with_values)}) COMPREPLY=($(compgen -f -- "$cur")); return ;;
  esac
  case "${{COMP_WORDS[1]}}" in
{newline.join(cases)}
  esac
  case "$cur" in
    -*) COMPREPLY=($(compgen -W "$words" -- "$cur")) ;;
    *) COMPREPLY=($(compgen -W "$(printf '%s\\n' $words | grep -v '^-')" -- "$cur") $(compgen -f -- "$cur")) ;;
  esac
}}
complete -o filenames -F _fastvae fastvae
"""


def _quoted(text: str) -> str:
    return text.replace("'", "").replace("\\", "")


def _zsh(texts: dict[str, str], commands: dict[str, Any]) -> str:
    lines = [
        "#compdef fastvae",
        "# zsh completion of fastvae: put it into a folder of $fpath as _fastvae",
        "",
        "_fastvae() {",
    ]
    lines += ["  local -a commands", "  commands=("]
    lines += [f"    '{name}:{_zsh_text(text)}'" for name, text in texts.items()]
    lines += ["  )", "  if (( CURRENT == 2 )); then", "    _describe 'command' commands", "    return", "  fi"]
    lines += ["  local command=$words[2]", "  shift words", "  (( CURRENT-- ))", "  case $command in"]
    for name, parser in commands.items():
        lines += [f"    {name})", "      _arguments \\"]
        for action in parser.flags():
            for flag in action.option_strings:
                help_text = _zsh_text(_first(action.help))
                value = ""
                if _takes_value(action):
                    metavar = _zsh_text(str(action.metavar or action.dest))
                    value = f":{metavar}:({' '.join(_choices(action))})" if _choices(action) else f":{metavar}:_files"
                lines.append(f"        '{flag}[{help_text}]{value}' \\")
        for i, action in enumerate(parser.positionals(), 1):
            choices = " ".join(_choices(action))
            value = f"({choices})" if choices else "_files"
            lines.append(f"        '{i}:{action.metavar or action.dest}:{value}' \\")
        lines[-1] = lines[-1].removesuffix(" \\")
        lines.append("      ;;")
    return "\n".join([*lines, "  esac", "}", "", '_fastvae "$@"', ""])


def _zsh_text(text: str) -> str:
    return _quoted(text).replace("[", "(").replace("]", ")").replace(":", ";").replace("%%", "%")


def _first(text: str | None) -> str:
    return (text or "").partition(" (default")[0][:80]


def _fish(texts: dict[str, str], commands: dict[str, Any]) -> str:
    lines = ["# fish completion of fastvae: fastvae completion fish > ~/.config/fish/completions/fastvae.fish"]
    for name, text in texts.items():
        lines.append(f"complete -c fastvae -n __fish_use_subcommand -f -a {name} -d '{_quoted(text)}'")
    for name, parser in commands.items():
        where = f"complete -c fastvae -n '__fish_seen_subcommand_from {name}'"
        for action in parser.flags():
            flags = "".join(
                f" -l {flag[2:]}" if flag.startswith("--") else f" -s {flag[1:]}" for flag in action.option_strings
            )
            value = (
                f" -x -a '{' '.join(_choices(action))}'" if _choices(action) else " -r" if _takes_value(action) else ""
            )
            lines.append(f"{where}{flags}{value} -d '{_quoted(_first(action.help)).replace('%%', '%')}'")
        for action in parser.positionals():
            if _choices(action):
                lines.append(f"{where} -f -a '{' '.join(_choices(action))}'")
    return "\n".join([*lines, ""])
